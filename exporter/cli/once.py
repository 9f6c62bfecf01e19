"""`once`: poll everything once, then print the metrics or write them to a file for the textfile collector."""

import math
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from exporter.cli.options import OnceOptions
from exporter.cli.serve import start_telemetry
from exporter.config.schema import State
from exporter.config.settings import Config, read_config
from exporter.exposition.formats import Encoding, TextFormat
from exporter.model.errors import ExporterError
from exporter.service import Service

_CHECK_INTERVAL = 0.05
"""Seconds between two checks whether everything has been polled."""


def once(options: OnceOptions, stdout: BinaryIO) -> int:
    """Poll everything once and write the metrics to `stdout`, or with `--output` to that file.

    Returns 0 if every poll succeeded, 1 if one failed (the metrics are written nevertheless).

    Raises:
        ConfigError: the configuration cannot be used.
        StateError: the state file cannot be used.
        ExporterError: the output file cannot be written, or `--with-state` is given and there is no `state.path`. An
            existing output file then keeps its old content.
        OSError: stdout cannot be written.
    """
    if options.output is not None and not Path(options.output).absolute().parent.is_dir():
        raise ExporterError(f"--output: {options.output}: the folder does not exist; create it or name another file")
    service = Service(lambda: _for_one_poll(options), start_telemetry(options, process=False))
    service.start()
    while not service.polled_all:
        time.sleep(_CHECK_INTERVAL)
    scrape = service.prepare_scrape(TextFormat.TEXT, Encoding.IDENTITY)
    if options.output is None:
        stdout.writelines(scrape.chunks)
        stdout.flush()
    else:
        try:
            replace_file(Path(options.output), scrape.chunks)
        except OSError as error:
            raise ExporterError(f"--output: {options.output}: cannot be written: {error.strerror}") from error
    failing = service.failing
    service.stop()
    return 1 if failing else 0


def _for_one_poll(options: OnceOptions) -> Config:
    """Return the configuration with an infinite interval, without a hold of new series, and without a state file.

    So each transform is polled only once. A hold could never end, because this process writes the metrics only once.
    With `--with-state` the state file stays. Otherwise the command could not run beside an exporter, which locks it.
    """
    config = read_config(Path(options.config_file), environ=os.environ)
    if options.with_state and config.state.path is None:
        raise ExporterError(f"--with-state: {options.config_file} has no state.path; expected the path of a state file")
    polling = config.polling.model_copy(update={"interval": math.inf})
    state = config.state if options.with_state else State()
    return replace(
        config, polling=polling, state=state, metrics=config.metrics.model_copy(update={"initial_hold": 0.0})
    )


def replace_file(file: Path, chunks: Iterable[bytes]) -> None:
    """Replace the file atomically: a reader sees the complete old content or the complete new content.

    All users may read the file. The content is first written to a file whose name does not end in `.prom`, because the
    textfile collector of node_exporter reads every file with that ending.

    Raises:
        OSError: the file cannot be written; the old file is unchanged.
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
    """Make the new name survive a power failure. Some file systems do not support this."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
