"""`once`: one poll of everything, printed, or written where node_exporter picks it up."""

import math
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from exporter.config.settings import Config
from exporter.exposition.formats import Encoding, TextFormat
from exporter.service import Service
from exporter.telemetry import Telemetry

PATIENCE = 0.05
"""Seconds between two looks at whether everything has been polled."""


def poll_once(load: Callable[[], Config], telemetry: Telemetry, file: Path | None, output: BinaryIO) -> int:
    """Poll everything one time and write the metrics to the file, or without one to ``output``; return the exit code.

    Raises OSError when the file cannot be written; a file that is there stays as it was then.
    """
    service = Service(lambda: _polled_once(load()), telemetry)
    service.start()
    while not service.polled_all:
        threading.Event().wait(PATIENCE)
    scrape = service.prepare_scrape(TextFormat.TEXT, Encoding.IDENTITY)
    if file is None:
        output.writelines(scrape.chunks)
        output.flush()
    else:
        replace_file(file, scrape.chunks)
    failing = service.failing
    service.stop()
    return 1 if failing else 0


def _polled_once(config: Config) -> Config:
    """Return the configuration with nothing due again: however long one transform takes, no other moves meanwhile."""
    return replace(config, polling=replace(config.polling, interval=math.inf))


def replace_file(file: Path, chunks: Iterable[bytes]) -> None:
    """Put a file with this content, readable by everybody, in the place of another, as a whole or not at all.

    The name that it has until then does not end in `.prom`: the collector of node_exporter reads whatever does.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".new", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as new:
            new.writelines(chunks)
            new.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        Path(name).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last, where the file system can; the content is safe without."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
