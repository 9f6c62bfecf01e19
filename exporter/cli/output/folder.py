"""Writes files to the folder that `--output` names."""

from collections.abc import Mapping
from pathlib import Path

from exporter.model.errors import ExporterError


def write_files(folder: Path, contents: Mapping[str, str]) -> None:
    """Write each content to the file of its name, and print the paths. Missing folders are created.

    Raises:
        ExporterError: the path belongs to a file.
        OSError: a folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ExporterError(f"--output: {folder} is not a folder; expected a folder, which may be new") from None
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
        print(folder / name)
