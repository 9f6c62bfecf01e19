"""Rules of the repository that ruff and import-linter cannot check; see CONTRIBUTING.md."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

PRODUCTION = sorted(ROOT.glob("exporter/**/*.py"))
TESTS = sorted(ROOT.glob("tests/**/*.py"))
CORE = [*ROOT.glob("exporter/model/*.py"), *ROOT.glob("exporter/counting/*.py")]
LOCKS = sorted(ROOT.glob("locks/*.txt"))
MAP = ROOT / "docs/design/0001-the-datas-way.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def called_names(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the called expression as it is written, for example `time.sleep`, with its line."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def test_import_contracts_see_every_import():
    """Production code imports nothing by a name computed at run time, which import-linter could not follow."""
    dynamic = {"__import__", "import_module", "importlib.import_module", "exec", "eval"}
    found = [f"{relative(path)}:{line}" for path in PRODUCTION for name, line in called_names(path) if name in dynamic]
    assert not found


def test_the_counting_core_touches_nothing_outside():
    """The packages model and counting read no files, print nothing, and keep no state in globals."""
    outside = {"open", "print", "input"}
    for path in CORE:
        assert not outside & {name for name, _ in called_names(path)}, path
        assert not any(isinstance(node, ast.Global) for node in ast.walk(tree(path))), path


def test_the_map_draws_the_layers_of_the_import_contract():
    """The layers in docs/design/0001 are those that import-linter checks, and they name every package and module."""
    contract = next(one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    section = MAP.read_text().partition("### Layers")[2].partition("###")[0]
    drawn = [re.sub(r" {3,}.*", "", line) for line in section.split("```")[1].strip().splitlines()]
    assert drawn == contract["layers"]
    parts = {
        path.stem for path in (ROOT / "exporter").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    outside = {"__init__", "__main__", "simulator"}
    assert {name for line in drawn for name in line.split(" | ")} == parts - outside


def test_the_map_lists_every_package_and_module():
    """The tables in docs/design/0001 name each module of each package exactly once, and nothing else."""
    tables = re.findall(r"^\| (\w+) \| .*\n\|---\|---\|\n((?:\| `.*\n)*)", MAP.read_text(), re.MULTILINE)
    named = sorted(
        f"{'' if package == 'exporter' else package + '/'}{module}"
        for package, rows in tables
        for module in re.findall(r"^\| `([^`]+)`", rows, re.MULTILINE)
    )
    modules = sorted(str(path.relative_to(ROOT / "exporter")) for path in PRODUCTION)
    assert named == [module for module in modules if Path(module).name not in {"__init__.py", "__main__.py"}]


def test_the_first_folder_fits_on_a_screen():
    """`ls exporter/` shows at most 16 entries."""
    entries = [path for path in (ROOT / "exporter").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 16


def test_tests_speak_in_sentences():
    """Every test has a docstring of one paragraph that ends with a full stop."""
    wordless = []
    for path in TESTS:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                sentence = ast.get_docstring(node) or ""
                if not sentence.endswith(".") or "\n\n" in sentence:
                    wordless.append(f"{relative(path)}:{node.lineno} {node.name}")
    assert not wordless


def test_tests_neither_patch_nor_sleep():
    """No test patches the program, and only `wait_for` sleeps, between two checks of its condition."""
    sleeps = {"time.sleep", "sleep", "threading.Event().wait", "Event().wait"}
    for path in TESTS:
        imported = {alias.name for node in ast.walk(tree(path)) if isinstance(node, ast.Import) for alias in node.names}
        modules = {node.module for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)}
        assert not {"unittest.mock", "mock"} & (imported | modules), path
        called = {name for name, _ in called_names(path)}
        assert not {"monkeypatch.setattr", "mocker.patch"} & called, path
        assert not sleeps & called or relative(path) == "tests/support.py", path


def test_locks_name_no_index():
    """A lock names packages and hashes, and no index."""
    assert {path.stem for path in LOCKS} == {"build", "dev", "runtime"}
    for lock in (*LOCKS, *ROOT.glob("tests/tools/*.lock")):
        assert "://" not in lock.read_text(), lock
        assert "--hash=sha256:" in lock.read_text(), lock


def test_locks_agree():
    """The runtime and build locks pin the versions of the dev lock, so that users run the tested versions."""
    tested = pins(ROOT / "locks/dev.txt")
    for lock in LOCKS:
        assert pins(lock).items() <= tested.items(), lock


def test_every_dependency_is_locked():
    """Every dependency of pyproject.toml is in the locks."""

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[<>=~!;\[ ]", text)[0].lower().replace("_", "-") for text in requirements}

    groups = PROJECT["dependency-groups"]
    assert names(PROJECT["project"]["dependencies"]) <= pins(ROOT / "locks/runtime.txt").keys()
    assert names(groups["build"]) | names(PROJECT["build-system"]["requires"]) <= pins(ROOT / "locks/build.txt").keys()
    assert names([entry for entry in groups["dev"] if isinstance(entry, str)]) <= pins(ROOT / "locks/dev.txt").keys()
