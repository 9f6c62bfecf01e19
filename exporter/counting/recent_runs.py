"""The newest runs of a transform as a person wants to read them: what of a run the ledger does not keep.

Kept are the `LIMIT` newest; a run that is still active comes before any that has ended, however old it is. A transform
whose runs are ordinary takes some 20 kB here, and none more than `LIMIT` times what the limits of the texts admit.

Pure: no clock, no network, no lock. Like a ledger, it changes only with a complete reading.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

from exporter.model.task_run import NO_PROPERTIES, Properties, RunPage, TaskRun, sanitized

LIMIT = 50

LONGEST_ERROR = 1000
"""Characters kept of an ErrorString: Glue sets no limit to it, and stack traces come in it."""

LONGEST_TEXT = 1100
"""Characters kept of any other text: the longest S3 path has a few less."""

_ACTIVE_FIRST = 1e12
"""Seconds, beyond every start that can be believed."""


class RecentRun(NamedTuple):
    """A run to be shown, its texts cut to the limits, without the times that cannot be true."""

    run: TaskRun
    properties: Properties


class Sighting:
    """The newest runs of one reading, as its pages come in."""

    def __init__(self, now: float, limit: int = LIMIT) -> None:
        """Begin a reading at ``now`` (UTC seconds) of which ``limit`` runs are kept, 0 where nobody looks at them."""
        self.now = now
        self.limit = limit
        self._seen: dict[str, tuple[float, int, TaskRun, RunPage]] = {}

    def add(self, page: RunPage) -> None:
        """Take the runs of a page; of pages of a thousand, all but the newest are passed over at once."""
        if not self.limit:
            return
        # Nearly every run of a long history has a CompletedOn, and then its start is its rank; a call each would show.
        ranks = [
            _rank(page.run_at(position)) if end is None else start or 0.0
            for position, (start, end) in enumerate(zip(page.starts, page.ends, strict=True))
        ]
        order: Sequence[int] = range(len(page))
        if ranks != sorted(ranks):  # as they are asked for, they come in order
            order = sorted(order, key=ranks.__getitem__)
        for position in order[-self.limit :]:
            run = page.run_at(position)
            before = self._seen.get(run.run_id)
            # As for the ledger: after pages that were read out of order, what has ended does not run again.
            if before is None or run.final or not before[2].final:
                self._seen[run.run_id] = ranks[position], position, run, page
        if len(self._seen) > self.limit:
            self._seen = dict(sorted(self._seen.items(), key=lambda seen: seen[1][0])[-self.limit :])

    def runs(self) -> dict[str, tuple[TaskRun, Callable[[], Properties]]]:
        """Return what was seen, by id, with what makes out the properties."""
        return {
            run_id: (run, partial(page.properties_of, position))
            for run_id, (_, position, run, page) in self._seen.items()
        }


class Recent:
    """The newest runs of one transform; `runs` is replaced as a whole and may be read by any thread."""

    def __init__(self) -> None:
        self.runs: tuple[RecentRun, ...] = ()
        """The newest start comes first; an unknown one comes last."""

    def commit(self, sighting: Sighting, gone: Iterable[TaskRun] = ()) -> None:
        """Take what a complete reading has seen; the runs that are ``gone`` leave."""
        known = {recent.run.run_id: recent for recent in self.runs}
        share = _Texts(self.runs)
        for run_id, (told, properties_of) in sighting.runs().items():
            before, run = known.get(run_id), sanitized(told, sighting.now)
            if before is not None and run.final and run == before.run:
                continue  # as nearly every poll finds it; what differs only by a text that was cut comes again
            known[run_id] = RecentRun(_cut(run, share), _cut_properties(properties_of(), share))
        for run in gone:
            known.pop(run.run_id, None)
        kept = sorted(known.values(), key=lambda recent: _rank(recent.run), reverse=True)[: sighting.limit]
        runs = tuple(sorted(kept, key=lambda recent: recent.run.started or 0.0, reverse=True))
        if runs != self.runs:
            self.runs = runs


def _rank(run: TaskRun) -> float:
    started = run.started or 0.0
    return started if run.final else started + _ACTIVE_FIRST


class _Texts:
    """Texts that many runs share, types and log groups for instance, each kept once."""

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


def _cut(run: TaskRun, share: _Texts) -> TaskRun:
    return run._replace(
        task_type=share(run.task_type) or "",
        status=share(run.status) or "",
        error=share(run.error, LONGEST_ERROR),
        log_group=share(run.log_group),
    )


def _cut_properties(properties: Properties, share: _Texts) -> Properties:
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
