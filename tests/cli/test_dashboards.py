"""`dashboards` writes the dashboards for Grafana."""

import json
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.dashboards.files import dashboard_files


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


@pytest.mark.parametrize("folder", ["taken", "taken/new"])
def test_a_file_in_place_of_the_folder_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], folder: str
) -> None:
    """If the path belongs to a file, the command returns 1 and prints one line with the path and what was expected."""
    (tmp_path / "taken").write_text("")
    assert main(["dashboards", f"--output={tmp_path / folder}"]) == 1
    expected = f"--output: {tmp_path / folder} is not a folder; expected a folder, which may be new\n"
    assert capfd.readouterr().err == expected
