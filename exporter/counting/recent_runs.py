"""The newest runs of a transform with their texts, for the status pages; the ledger does not store texts.

The `LIMIT` newest runs are kept. An active run is kept even if it is older than all ended runs. The runs of a transform
need about 20 kB of memory. Long texts are cut to limit the memory.

The runs change only after a complete poll, as the ledger does. This module does not read a clock, use the network or
take a lock.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

from exporter.model.failure_reasons import LONGEST_ERROR
from exporter.model.task_run import NO_PROPERTIES, Properties, RunPage, TaskRun, sanitized

LIMIT = 50

LONGEST_TEXT = 1100
"""Maximum length of any other kept text.

The longest S3 path has 1,093 characters: 5 of ``s3://``, 63 of the bucket, 1 of ``/`` and 1,024 of the key.
"""

_ACTIVE_FIRST = 1e12
"""Seconds that are added to the start of an active run, so that its rank is above every ended run."""


class RecentRun(NamedTuple):
    """A run for a status page, with cut texts. Its impossible times are None."""

    run: TaskRun
    properties: Properties


class NewestRuns:
    """Collects the newest runs of one poll."""

    def __init__(self, now: float, limit: int = LIMIT) -> None:
        """Begin a poll at ``now`` (UTC seconds) that keeps ``limit`` runs; without status pages ``limit`` is 0."""
        self.now = now
        self.limit = limit
        self._seen: dict[str, tuple[float, int, TaskRun, RunPage]] = {}

    def add(self, page: RunPage) -> None:
        """Add the newest runs of a page. The other runs are skipped early, because a page may have 1,000 runs."""
        if not self.limit:
            return
        # The rank of a run with a CompletedOn is its start. Calling _rank for these runs too would slow down the first
        # poll of a long history, which lists up to a million runs.
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
            # A later page can show an older state. So an ended run is not replaced by the same run as active.
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
    """The newest runs of one transform. Any thread may read ``runs``, because each change replaces the tuple."""

    def __init__(self) -> None:
        self.runs: tuple[RecentRun, ...] = ()
        """The runs with the newest start first, and runs without a start last."""

    def commit(self, newest: NewestRuns, missing: Iterable[TaskRun] = ()) -> None:
        """Add the newest runs of a complete poll; remove ``missing``, the open runs that Glue no longer knows."""
        known = {recent.run.run_id: recent for recent in self.runs}
        share = _SharedTexts(self.runs)
        for run_id, (raw, properties_of) in newest.runs().items():
            before, run = known.get(run_id), sanitized(raw, newest.now)
            if before is not None and run.final and run == before.run:
                continue  # Nothing changed. A run with a cut text is never equal, so its texts are cut again.
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
    """Cuts texts, and stores equal texts once, because many runs have the same task type and log group."""

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
