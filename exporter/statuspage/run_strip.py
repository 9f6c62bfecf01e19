"""The run strip: the newest runs of a transform as a row of bars, each with its status, start time and duration.

Each status has its own colour and its own shape, because some readers cannot distinguish the colours. Below the bar,
FAILED has a filled triangle and TIMEOUT has an empty box. The bar of STOPPED is hatched, and the bar of an active run
is an outline. The height of a bar is the duration of its run.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from markupsafe import Markup, escape

from exporter.config.durations import format_duration
from exporter.config.timestamps import format_time
from exporter.counting.recent_runs import RecentRun
from exporter.model.task_run import TaskRun

LEVELS = 8
"""Number of bar heights. Each height is a class in the style sheet, because the page's policy forbids style
attributes."""

_STATUS_CLASSES = {"SUCCEEDED": "s", "FAILED": "f", "TIMEOUT": "t", "STOPPED": "x"}


def status_class(run: TaskRun) -> str:
    """Return the CSS class of the run's status."""
    return _STATUS_CLASSES.get(run.status, "u" if run.final else "a")


def duration_text(run: TaskRun) -> str:
    """Return the time from start to end in whole seconds, such as "1m59s"; "" if a time is unknown.

    This time includes waiting.
    """
    duration = run.duration
    return "" if duration is None else _in_seconds(round(duration))


def render_strip(recent: Sequence[RecentRun]) -> Markup:
    """Return the strip as HTML, the newest run at the right. `recent` begins with the newest run.

    A screen reader reads the summary of the strip instead of the bars.
    """
    runs = [entry.run for entry in reversed(recent)]
    longest = max((run.duration or 0.0 for run in runs), default=0.0)
    bars = "".join(_bar(run, longest) for run in runs)
    label = escape(strip_summary(recent))
    return Markup(f'<div class="strip" role="img" aria-label="{label}">{bars}</div>')  # noqa: S704 - all is escaped


def strip_summary(recent: Sequence[RecentRun]) -> str:
    """Return the strip in words, such as "Last 50 runs: 49 SUCCEEDED, 1 FAILED"."""
    if not recent:
        return "No runs yet"
    counts = Counter(entry.run.status for entry in recent)
    return f"Last {len(recent)} runs: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())


def _bar(run: TaskRun, longest: float) -> str:
    duration = run.duration
    height = LEVELS if duration is None or not longest else max(1, round(duration / longest * LEVELS))
    started = "" if run.started is None else f" · {format_time(run.started, 'minutes')}"
    took = "" if duration is None else f" · {_in_seconds(round(duration))}"
    kind = _kind(run.status, run.task_type)
    return f'<i class="{status_class(run)} h{height}" title="{kind}{started}{took}"></i>'


@lru_cache(4096)
def _in_seconds(duration: int) -> str:
    return format_duration(float(duration))


@lru_cache(256)
def _kind(status: str, task_type: str) -> str:
    # Markup would make each text around it Markup too, which is slower.
    return str(escape(f"{status} · {task_type}"))
