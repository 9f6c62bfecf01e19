"""Writes files to the folder that `--output` names."""

from collections.abc import Mapping
from pathlib import Path


def write_files(folder: Path, contents: Mapping[str, str]) -> None:
    """Write each content to the file of its name, and print the paths. Missing folders are created.

    Raises:
        OSError: a folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
        print(folder / name)
