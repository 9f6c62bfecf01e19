"""`simulate` and `demo` refuse a scenario that cannot be used."""

import pytest

from tests.support import EXPORTER, ROOT, run


@pytest.mark.parametrize("command", ["simulate", "demo"])
def test_a_scenario_that_cannot_be_used_is_one_line(command, tmp_path):
    """If the file is missing or has an unknown key, the command prints one line and exits with 1."""
    (tmp_path / "bad.yaml").write_text("transformz: []\n")
    for name, problem in (
        ("missing.yaml", "does not exist; expected a file or a built-in scenario ("),
        ("bad.yaml", "transformz: unknown key"),
    ):
        done = run(*EXPORTER, command, f"--scenario={name}", folder=tmp_path, environ={"PYTHONPATH": str(ROOT)})
        assert done.exit_code == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{name}: {problem}")
