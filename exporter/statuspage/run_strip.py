"""The newest runs as a row of marks: a look tells how they went, each mark tells when and for how long.

Status is told by colour and by shape: what failed has a filled wedge under it, a timeout a hollow one, what was stopped
is hatched, what is active is an outline. Height is the duration.
"""

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup, escape

from exporter.config.durations import format_duration
from exporter.config.timestamps import stamp
from exporter.counting.recent_runs import RecentRun
from exporter.model.task_run import TaskRun

LEVELS = 8
"""How many heights there are; the style sheet names each, as the page's policy forbids style attributes."""

_MARKS = {"SUCCEEDED": "s", "FAILED": "f", "TIMEOUT": "t", "STOPPED": "x"}


def mark_of(run: TaskRun) -> str:
    """Return the class of the run's mark."""
    return _MARKS.get(run.status, "u" if run.final else "a")


def took(run: TaskRun) -> str:
    """Return how long the run took, waiting included, as a duration in whole seconds; empty if that is unknown."""
    duration = run.duration
    return "" if duration is None else format_duration(float(round(duration)))


def marks(recent: Sequence[RecentRun]) -> Markup:
    """Return the marks, the newest at the right; who reads with the ears gets a summary in their place."""
    runs = [one.run for one in reversed(recent)]
    longest = max((run.duration or 0.0 for run in runs), default=0.0)
    inner = "".join(_mark(run, longest) for run in runs)
    label = escape(summary(recent))
    return Markup(f'<div class="strip" role="img" aria-label="{label}">{inner}</div>')  # noqa: S704 - all is escaped


def summary(recent: Sequence[RecentRun]) -> str:
    """Return what the marks show, in words."""
    if not recent:
        return "No runs yet"
    counts = Counter(one.run.status for one in recent)
    return f"Last {len(recent)} runs: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())


def _mark(run: TaskRun, longest: float) -> str:
    duration = run.duration
    height = LEVELS if duration is None or not longest else max(1, round(duration / longest * LEVELS))
    started = "" if run.started is None else f" · {stamp(run.started, 'minutes')}"
    long = "" if duration is None else f" · {format_duration(float(round(duration)))}"
    kind = escape(f"{run.status} · {run.task_type}")
    return f'<i class="{mark_of(run)} h{height}" title="{kind}{started}{long}"></i>'
