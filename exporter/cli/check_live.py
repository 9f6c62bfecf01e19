"""`check-config --live`: everything that the exporter would ask of AWS, asked once, and what comes of it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TextIO

from exporter import logs
from exporter.cli.flags import PROGRAM
from exporter.cli.output import fields as records
from exporter.cli.output.progress import Report, concerns_lane, told
from exporter.cli.output.table import print_table
from exporter.config.settings import Config, DiscoverySettings
from exporter.errors import GlueError
from exporter.glue.client import GlueClients
from exporter.model.transform import Lane, Target
from exporter.polling.discovery import find
from exporter.polling.targets import configured_targets, merge_targets
from exporter.telemetry import Telemetry

_HEADER = ("ACCOUNT", "REGION", "WHAT", "RESULT", "DETAIL")

_ABSENT = ("EntityNotFoundException", "InvalidInputException")
_NEWEST_FIRST = {"Column": "STARTED", "SortDirection": "DESCENDING"}

_NO_RUN = f"tsk-{'0' * 40}"
"""Looked up where there is no run: that there is none is told only to those who may look."""


@dataclass(frozen=True, slots=True)
class Check:
    """What came of asking for one thing."""

    lane: Lane
    what: str
    result: str
    detail: str

    @property
    def row(self) -> tuple[str, ...]:
        """The row of the table."""
        return (*self.lane, self.what, self.result, self.detail)


def check_live(config: Config, output: TextIO, errors: TextIO) -> int:
    """Print a table of what works; return 0 if all does, else 1."""
    logs.configure("error", "logfmt", errors)
    # Each thing is asked for once: a retry would only make what does not work take its time.
    config = replace(config, polling=replace(config.polling, max_attempts=1))
    clients = GlueClients.of(config, telemetry=Telemetry(process=False), stop=threading.Event())
    with closing(clients), Report(errors) as report:
        checks = list(_Checks(config, clients, report).all())
    print_table(output, _HEADER, (check.row for check in checks))
    return 0 if all(check.result == "ok" for check in checks) else 1


class _Checks:
    """Asks for what a configuration needs."""

    def __init__(self, config: Config, clients: GlueClients, report: Report) -> None:
        self._config = config
        self._clients = clients
        self._report = report
        self._found: list[Target] = []
        self._silent: set[Lane] = set()

    def all(self) -> Iterator[Check]:
        """Yield what came of each discovery, then of each transform that is configured or was found."""
        for wanted in self._config.discovery:
            for region in wanted.regions:
                yield from self._discovery(wanted, Lane(wanted.account, region))
        for target in merge_targets(configured_targets(self._config), self._found):
            yield from self._transform(target)

    def _discovery(self, wanted: DiscoverySettings, lane: Lane) -> Iterator[Check]:
        glue = self._clients.client_for(lane)
        found: list[str] = []

        def search() -> str:
            found.extend(find(wanted, glue, page_size=self._config.polling.page_size))
            self._found += [Target(transform_id, lane) for transform_id in found]
            return f"{len(found)} transform{'' if len(found) == 1 else 's'}"

        filters = [*([wanted.name] if wanted.name else []), *(f"{key}={value}" for key, value in wanted.tags.items())]
        yield self._try(lane, " ".join(("discovery", *filters)), [search])
        if found and set(wanted.labels_from_tags) - set(wanted.tags):
            # These may hang on STS, of which nothing else has need.
            yield self._try(lane, "tags", [lambda: f"{len(glue.tags(found[0]))} of {found[0]}"], alone=True)

    def _transform(self, target: Target) -> Iterator[Check]:
        glue = self._clients.client_for(target.lane)
        runs: list[str] = []

        def newest_run() -> str:
            page = next(glue.task_run_records(target.id, criteria={}, sort=_NEWEST_FIRST, page_size=1))
            runs.extend(records.run_id(run) for run in page)
            return f"latest run {records.status(page[0])}" if page else "no runs"

        def one_run() -> str:
            try:
                glue.task_run(target.id, runs[0] if runs else _NO_RUN)
            except GlueError as error:
                if error.reason not in _ABSENT:
                    raise
            return ""

        def details() -> str:
            return glue.details(target.id).status

        questions = [newest_run, one_run, *([details] if self._config.transform_details else [])]
        yield self._try(target.lane, f"{target.id} ({target.name})" if target.name else target.id, questions)

    def _try(self, lane: Lane, what: str, questions: Iterable[Callable[[], str]], *, alone: bool = False) -> Check:
        """Ask the questions, the next one also if a permission is missing, so that all that are missing are named.

        A failure that others would share keeps them from being tried, unless it stands ``alone``.
        """
        if lane in self._silent:
            return Check(lane, what, "not tried", "see the failure above in this account and region")
        self._report.progress(f"{lane.account} {lane.region}: {what}")
        answers: list[str] = []
        denied: list[str] = []
        for question in questions:
            try:
                answers.append(question())
            except GlueError as error:
                if error.reason != "AccessDeniedException" or concerns_lane(error):
                    if concerns_lane(error) and not alone:
                        self._silent.add(lane)
                    return _failed(lane, what, error)
                denied.append(_action(error))
        if denied:
            return Check(lane, what, "denied", f"{', '.join(denied)}; {PROGRAM} iam-policy prints what to allow")
        return Check(lane, what, "ok", ", ".join(filter(None, answers)))


def _failed(lane: Lane, what: str, error: GlueError) -> Check:
    if error.reason == "AccessDeniedException":
        return Check(lane, what, "denied", f"{_action(error)}; {error}")
    return Check(lane, what, "not found" if error.reason in _ABSENT else "failed", told(error))


def _action(error: GlueError) -> str:
    """Return the IAM action whose permission is missing."""
    return f"{'sts' if error.operation == 'AssumeRole' else 'glue'}:{error.operation}"
