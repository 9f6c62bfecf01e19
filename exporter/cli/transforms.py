"""`transforms`: list the transforms of the configuration, or with `--discover` all transforms of a region."""

import csv
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, TextIO

from exporter import logs
from exporter.cli.chosen_config import chosen_config
from exporter.cli.lookup import TransformLookup
from exporter.cli.options import TransformsOptions
from exporter.cli.output import fields
from exporter.cli.output.progress import Progress, affects_lane, error_text
from exporter.cli.output.table import print_table
from exporter.glue.client import GlueClients
from exporter.model.errors import GlueError
from exporter.model.transform import Lane, Target
from exporter.telemetry import Telemetry

_HEADER = ("TRANSFORM", "NAME", "ACCOUNT", "REGION", "STATE", "NEWEST RUN")
_COLUMNS = ("TransformId", "TransformName", "Account", "Region", "Status", "NewestRunStartedOn")

Row = dict[str, Any]
"""A transform with the fields `_COLUMNS`. The start of its newest run is in UTC seconds, None without runs."""


def show_transforms(options: TransformsOptions, output: TextIO, errors: TextIO) -> int:
    """Print the transforms on `output`, and progress, notes and errors on `errors`.

    Returns 0, or 1 if a transform does not exist or a call to AWS failed.

    Raises:
        UsageError: the region is unknown.
        ConfigError: the configuration cannot be used.
        GlueError: the AWS settings of this machine cannot be read.
    """
    logs.configure("error", "logfmt", logs.STDERR)
    config = chosen_config(options)
    clients = GlueClients(config, telemetry=Telemetry(process=False), stop=threading.Event())
    with closing(clients), Progress(errors, output) as progress:
        lookup = TransformLookup(config, clients, progress, region=options.region)
        targets = lookup.everything() if options.discover else lookup.all()
        rows = list(_rows(targets, lookup, clients, progress))
        if not rows and not progress.errors:
            progress.note("no transforms")
        progress.clear()
        _write(rows, options.output, output)
    return 1 if progress.errors else 0


def _rows(
    targets: tuple[Target, ...], lookup: TransformLookup, clients: GlueClients, progress: Progress
) -> Iterator[Row]:
    """Yield a row for each transform. After a failure of an account and region, its other transforms are not asked for.

    What could not be read is empty.
    """
    failed_lanes: set[Lane] = set()
    for number, target in enumerate(targets, start=1):
        progress.show(f"{target.id} ({number} of {len(targets)})")
        values: Mapping[str, Any] = {}
        if target.lane not in failed_lanes:
            try:
                values = _values(target, lookup, clients)
            except GlueError as error:
                progress.error(f"{target.id}: {error_text(error)}")
                if affects_lane(error):
                    failed_lanes.add(target.lane)
        name = target.name or values.get("TransformName", "")
        place = {"TransformId": target.id, "TransformName": name, "Account": target.lane.account}
        yield {**dict.fromkeys(_COLUMNS), **values, **place, "Region": target.lane.region}


def _values(target: Target, lookup: TransformLookup, clients: GlueClients) -> Mapping[str, Any]:
    details = lookup.details(target)
    newest = clients.client_for(target.lane).newest_run(target.id) or {}
    return {"TransformName": details.name, "Status": details.status, "NewestRunStartedOn": newest.get("StartedOn")}


def _write(rows: Iterable[Row], form: str, output: TextIO) -> None:
    if form == "json":
        output.writelines(f"{json.dumps(fields.with_iso_times(row), allow_nan=False)}\n" for row in rows)
    elif form == "csv":
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(fields.csv_cells(fields.with_iso_times(row), _COLUMNS) for row in rows)
    else:
        print_table(output, _HEADER, (_cells(row, time.time()) for row in rows))
    output.flush()


def _cells(row: Row, now: float) -> list[str]:
    newest = fields.started({"StartedOn": row["NewestRunStartedOn"]}, now)
    return [*(fields.one_line(row[name] or "") or "-" for name in _COLUMNS[:-1]), newest]
