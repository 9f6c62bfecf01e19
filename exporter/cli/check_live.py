"""`check-config --live`: try every call to AWS that the exporter needs, and print the results."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TextIO

from exporter import logs
from exporter.cli.flags import PROGRAM
from exporter.cli.output import fields
from exporter.cli.output.progress import Progress, affects_lane, error_text
from exporter.cli.output.table import print_table
from exporter.config.settings import Config, DiscoverySettings
from exporter.glue.client import GlueClients
from exporter.model.errors import GlueError
from exporter.model.transform import Lane, Target
from exporter.polling.discovery import find
from exporter.polling.targets import configured_targets, merge_targets
from exporter.telemetry import Telemetry

_HEADER = ("ACCOUNT", "REGION", "WHAT", "RESULT", "DETAIL")

_NOT_FOUND_REASONS = ("EntityNotFoundException", "InvalidInputException")

_MISSING_RUN = f"tsk-{'0' * 40}"
"""A run id that does not exist. It is requested if a transform has no runs.

The answer "not found" shows that the call is allowed, because AWS checks the permission before it looks up the run.
"""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of the calls for one discovery or one transform."""

    lane: Lane
    subject: str
    result: str
    detail: str

    @property
    def row(self) -> tuple[str, ...]:
        """The row of the table."""
        return (*self.lane, self.subject, self.result, self.detail)


def check_live(config: Config, output: TextIO, errors: TextIO) -> int:
    """Print a table with a row for each discovery and transform; return 0 if every call succeeded, else 1."""
    logs.configure("error", "logfmt", logs.STDERR)
    # Each call has one attempt, because a retry would only delay the report of a failure.
    config = replace(config, polling=config.polling.model_copy(update={"max_attempts": 1}))
    clients = GlueClients(config, telemetry=Telemetry(process=False), stop=threading.Event())
    with closing(clients), Progress(errors, output) as progress:
        checks = list(_LiveChecks(config, clients, progress).all())
    print_table(output, _HEADER, (check.row for check in checks))
    return 0 if all(check.result == "ok" for check in checks) else 1


class _LiveChecks:
    """Makes the calls that a configuration needs."""

    def __init__(self, config: Config, clients: GlueClients, progress: Progress) -> None:
        self._config = config
        self._clients = clients
        self._progress = progress
        self._discovered: list[Target] = []
        self._failed_lanes: set[Lane] = set()

    def all(self) -> Iterator[Check]:
        """Yield the check of each discovery, then of each transform that is configured or was discovered."""
        for wanted in self._config.discovery:
            for region in wanted.regions:
                yield from self._check_discovery(wanted, Lane(wanted.account, region))
        for target in merge_targets(configured_targets(self._config), self._discovered):
            yield self._check_transform(target)

    def _check_discovery(self, wanted: DiscoverySettings, lane: Lane) -> Iterator[Check]:
        glue = self._clients.client_for(lane)
        found: list[str] = []

        def discover() -> str:
            found.extend(find(wanted, glue, page_size=self._config.polling.page_size))
            self._discovered += [Target(transform_id, lane) for transform_id in found]
            return f"{len(found)} transform{'' if len(found) == 1 else 's'}"

        def read_tags() -> str:
            return f"{len(glue.tags(found[0]))} of {found[0]}"

        filters = [*([wanted.name] if wanted.name else []), *(f"{key}={value}" for key, value in wanted.tags.items())]
        yield self._check(lane, " ".join(("discovery", *filters)), [discover])
        if found and wanted.tags_to_read:
            # GetTags needs the account id, which can come from STS. Other calls do not need STS, so they may still
            # succeed.
            yield self._check(lane, "tags", [read_tags], fails_lane=False)

    def _check_transform(self, target: Target) -> Check:
        glue = self._clients.client_for(target.lane)
        run_ids: list[str] = []

        def read_newest_run() -> str:
            newest = glue.newest_run(target.id)
            if newest is None:
                return "no runs"
            run_ids.append(fields.run_id(newest))
            return f"latest run {fields.status(newest)}"

        def read_one_run() -> str:
            try:
                glue.task_run(target.id, run_ids[0] if run_ids else _MISSING_RUN)
            except GlueError as error:
                if error.reason not in _NOT_FOUND_REASONS:
                    raise
            return ""

        def read_details() -> str:
            return glue.details(target.id).status

        calls = [read_newest_run, read_one_run, *([read_details] if self._config.transform_details else [])]
        return self._check(target.lane, f"{target.id} ({target.name})" if target.name else target.id, calls)

    def _check(self, lane: Lane, subject: str, calls: Iterable[Callable[[], str]], *, fails_lane: bool = True) -> Check:
        """Make the calls and return the result. After a denied call the other calls are still made.

        The result can then name all missing permissions.

        A failure of the whole account and region, such as an endpoint that does not answer, ends the checks of that
        lane. If `fails_lane` is false, the checks continue.
        """
        if lane in self._failed_lanes:
            return Check(lane, subject, "not tried", "see the failure above in this account and region")
        self._progress.show(f"{lane.account} {lane.region}: {subject}")
        answers: list[str] = []
        denied: list[str] = []
        for call in calls:
            try:
                answers.append(call())
            except GlueError as error:
                if error.reason != "AccessDeniedException" or affects_lane(error):
                    if affects_lane(error) and fails_lane:
                        self._failed_lanes.add(lane)
                    return _failure(lane, subject, error)
                denied.append(_iam_action(error))
        if denied:
            detail = f"{', '.join(denied)}; {PROGRAM} iam-policy prints the policy that allows this"
            return Check(lane, subject, "denied", detail)
        return Check(lane, subject, "ok", ", ".join(filter(None, answers)))


def _failure(lane: Lane, subject: str, error: GlueError) -> Check:
    if error.reason == "AccessDeniedException":
        return Check(lane, subject, "denied", f"{_iam_action(error)}; {error}")
    result = "not found" if error.reason in _NOT_FOUND_REASONS else "failed"
    return Check(lane, subject, result, error_text(error))


def _iam_action(error: GlueError) -> str:
    """Return the IAM action whose permission is missing."""
    return f"{'sts' if error.operation == 'AssumeRole' else 'glue'}:{error.operation}"
