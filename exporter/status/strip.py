"""The newest runs as a row of marks: a look tells how they went, each mark tells when and for how long.

Status is told by colour and by shape: what failed has a filled wedge under it, a timeout a hollow one, what was stopped
is hatched, what is active is an outline. Height is the duration.
"""

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup, escape

from exporter.durations import format_duration
from exporter.moments import stamp
from exporter.recent import RecentRun
from exporter.runs import TaskRun

LEVELS = 8
"""How many heights there are; style sheets name each, as the page's policy forbids style attributes."""

_MARKS = {"SUCCEEDED": "s", "FAILED": "f", "TIMEOUT": "t", "STOPPED": "x"}


def mark_of(run: TaskRun) -> str:
    """Return the class of the run's mark."""
    return _MARKS.get(run.status, "u" if run.final else "a")


def took(run: TaskRun) -> str:
    """Return how long the run took, waiting included, as a duration in whole seconds; empty if that is unknown."""
    return "" if run.duration is None else format_duration(float(round(run.duration)))


def marks(recent: Sequence[RecentRun]) -> Markup:
    """Return the marks, the newest at the right; readers of the screen get a summary in their place."""
    runs = [one.run for one in reversed(recent)]
    longest = max((run.duration for run in runs if run.duration is not None), default=0.0)
    return Markup('<div class="strip" role="img" aria-label="{}">{}</div>').format(
        summary(recent), Markup().join(_mark(run, longest) for run in runs)
    )


def summary(recent: Sequence[RecentRun]) -> str:
    """Return what the marks show, in words."""
    if not recent:
        return "No runs yet"
    counts = Counter(one.run.status for one in recent)
    return f"Last {len(recent)} runs: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())


def _mark(run: TaskRun, longest: float) -> Markup:
    share = 1.0 if run.duration is None or not longest else run.duration / longest
    height = max(1, round(share * LEVELS))
    parts = [run.status, run.task_type, "" if run.started is None else stamp(run.started, "minutes"), took(run)]
    text = escape(" · ".join(part for part in parts if part))
    return Markup(f'<i class="{mark_of(run)} h{height}" title="{text}"></i>')  # noqa: S704 - the text is escaped
