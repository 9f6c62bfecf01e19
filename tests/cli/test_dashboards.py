"""`dashboards` writes the dashboards for Grafana."""

import json
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.dashboards import dashboard_files


def test_the_dashboards_are_written_to_a_new_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command creates the folder, replaces older files and prints the path of each file."""
    folder = tmp_path / "grafana" / "dashboards"
    for _ in range(2):
        assert main(["dashboards", f"--output={folder}"]) == 0
        (folder / "glue-ml-overview.json").write_text("{}")
    assert main(["dashboards", f"--output={folder}"]) == 0
    written = {path.name: path.read_text() for path in folder.iterdir()}
    assert written == dashboard_files()
    assert all(json.loads(content)["uid"] + ".json" == name for name, content in written.items())
    assert len(written) == 3
    assert set(capsys.readouterr().out.split()) == {str(folder / name) for name in written}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """If the folder is a file, the command prints one line with its path, and returns 1."""
    (tmp_path / "taken").write_text("")
    assert main(["dashboards", f"--output={tmp_path / 'taken'}"]) == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "taken" in error
