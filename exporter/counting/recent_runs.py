"""The newest runs of a transform for the status pages, with the texts that the ledger does not keep.

The `LIMIT` newest runs are kept. An active run of any age ranks before every ended one. The runs of a transform take
about 20 kB with ordinary texts, and the limits on texts bound their size in every case.

Pure: no clock, no network, no lock. Like a ledger, the runs change only with a complete poll.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

from exporter.model.task_run import NO_PROPERTIES, Properties, RunPage, TaskRun, sanitized

LIMIT = 50

LONGEST_ERROR = 1000
"""Characters kept of an ErrorString. Glue sets no limit, and stack traces occur."""

LONGEST_TEXT = 1100
"""Characters kept of any other text. The longest S3 path has 1,093: ``s3://``, 63 of the bucket, ``/`` and 1,024."""

_ACTIVE_FIRST = 1e12
"""Seconds: more than every believable start, so that adding it ranks a run before all ended ones."""


class RecentRun(NamedTuple):
    """A run for a status page: its texts are cut to the limits, and impossible times are None."""

    run: TaskRun
    properties: Properties


class NewestRuns:
    """The newest runs of one poll, collected page by page."""

    def __init__(self, now: float, limit: int = LIMIT) -> None:
        """Begin a poll at ``now`` (UTC seconds) that keeps ``limit`` runs, 0 if there are no status pages."""
        self.now = now
        self.limit = limit
        self._seen: dict[str, tuple[float, int, TaskRun, RunPage]] = {}

    def add(self, page: RunPage) -> None:
        """Add the runs of a page. Only its newest are compared one by one, since a page may have a thousand."""
        if not self.limit:
            return
        # Nearly every run of a long history has a CompletedOn, and then its start is its rank. One call of _rank for
        # each of a million runs would show in the time of the first scan.
        ranks = [
            _rank(page.run_at(position)) if end is None else start or 0.0
            for position, (start, end) in enumerate(zip(page.starts, page.ends, strict=True))
        ]
        order: Sequence[int] = range(len(page))
        if ranks != sorted(ranks):  # rare, since the request asks for this order
            order = sorted(order, key=ranks.__getitem__)
        for position in order[-self.limit :]:
            run = page.run_at(position)
            before = self._seen.get(run.run_id)
            # Pages can be read out of order. As in the ledger, a run that has ended does not run again.
            if before is None or run.final or not before[2].final:
                self._seen[run.run_id] = ranks[position], position, run, page
        if len(self._seen) > self.limit:
            self._seen = dict(sorted(self._seen.items(), key=lambda seen: seen[1][0])[-self.limit :])

    def runs(self) -> dict[str, tuple[TaskRun, Callable[[], Properties]]]:
        """Return each run by id, with a function that decodes its properties."""
        return {
            run_id: (run, partial(page.properties_of, position))
            for run_id, (_, position, run, page) in self._seen.items()
        }


class RecentRuns:
    """The newest runs of one transform. ``runs`` is replaced as a whole, so any thread may read it."""

    def __init__(self) -> None:
        self.runs: tuple[RecentRun, ...] = ()
        """Newest start first; runs without a start come last."""

    def commit(self, newest: NewestRuns, missing: Iterable[TaskRun] = ()) -> None:
        """Apply the runs of a complete poll; ``missing`` are open runs that Glue no longer knows."""
        known = {recent.run.run_id: recent for recent in self.runs}
        share = _SharedTexts(self.runs)
        for run_id, (raw, properties_of) in newest.runs().items():
            before, run = known.get(run_id), sanitized(raw, newest.now)
            if before is not None and run.final and run == before.run:
                continue  # the ordinary case; a run with a cut text differs from its kept form and is cut again
            known[run_id] = RecentRun(_cut(run, share), _cut_properties(properties_of(), share))
        for run in missing:
            known.pop(run.run_id, None)
        kept = sorted(known.values(), key=lambda recent: _rank(recent.run), reverse=True)[: newest.limit]
        runs = tuple(sorted(kept, key=lambda recent: recent.run.started or 0.0, reverse=True))
        if runs != self.runs:
            self.runs = runs


def _rank(run: TaskRun) -> float:
    started = run.started or 0.0
    return started if run.final else started + _ACTIVE_FIRST


class _SharedTexts:
    """Cuts texts, and stores equal texts once, since many runs have the same types and log groups."""

    def __init__(self, runs: Iterable[RecentRun]) -> None:
        self._runs = runs

    @cached_property
    def _known(self) -> dict[str, str]:
        return {text: text for run, properties in self._runs for text in (*run, *properties) if isinstance(text, str)}

    def __call__(self, text: str | None, limit: int = LONGEST_TEXT) -> str | None:
        if text is None:
            return None
        if len(text) > limit:
            text = text[: limit - 1] + "…"
        return self._known.setdefault(text, text)


def _cut(run: TaskRun, share: _SharedTexts) -> TaskRun:
    return run._replace(
        task_type=share(run.task_type) or "",
        status=share(run.status) or "",
        error=share(run.error, LONGEST_ERROR),
        log_group=share(run.log_group),
    )


def _cut_properties(properties: Properties, share: _SharedTexts) -> Properties:
    if properties == NO_PROPERTIES:
        return NO_PROPERTIES
    return Properties(
        input_path=share(properties.input_path),
        replace=properties.replace,
        output_path=share(properties.output_path),
        job_id=share(properties.job_id),
        job_name=share(properties.job_name),
        job_run_id=share(properties.job_run_id),
    )
