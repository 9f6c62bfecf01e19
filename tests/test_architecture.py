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


def test_the_design_document_shows_every_module():
    """The data's way in docs/design/0001 names each production module, so that the picture cannot grow old unseen."""
    (document,) = ROOT.glob("docs/design/0001-*.md")
    modules = {path.stem for path in ROOT.glob("exporter/*.py")} - {"__init__", "__main__"}
    missing = {name for name in modules if not re.search(rf"\b{name}\b", document.read_text())}
    assert not missing


def test_tests_speak_in_sentences():
    """Every test's docstring is one paragraph that ends in a full stop."""
    wordless = []
    for path in TESTS:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                sentence = ast.get_docstring(node) or ""
                if not sentence.endswith(".") or "\n\n" in sentence:
                    wordless.append(f"{relative(path)}:{node.lineno} {node.name}")
    assert not wordless


def test_tests_neither_patch_nor_sleep():
    """No test replaces an internal of the program, and only `wait_for` sleeps, between two looks at its condition."""
    sleeps = {"time.sleep", "sleep"}
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
