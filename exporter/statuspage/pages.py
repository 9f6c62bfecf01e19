"""Renders the pages from published snapshots. This module does not call AWS and does not wait for polls."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from exporter import __revision__, __version__
from exporter.config.durations import format_duration
from exporter.counting.recent_runs import LIMIT, RecentRun
from exporter.model.task_run import STATUSES, TASK_TYPES
from exporter.model.transform import Target
from exporter.statuspage import console_links, run_strip
from exporter.statuspage.exporter_health import ExporterHealth
from exporter.statuspage.limits import default_limits
from exporter.statuspage.outages import find_outages
from exporter.statuspage.rows import (
    TIME_PLACEHOLDER,
    RowFilter,
    Rows,
    StatusCounts,
    path_of,
    split_at_times,
)
from exporter.statuspage.summary import PROBLEMS, Problem, TransformReport, TransformSummary
from exporter.statuspage.times import PageTime

_UNFOLDED = 8
"""A phone shows up to this number of transforms without a problem of their own; more are folded."""

_FOLDER = Path(__file__).parent / "templates"


class HtmlPage(NamedTuple):
    """A rendered page."""

    body: bytes
    """HTML in UTF-8."""
    policy: str
    """The value of its Content-Security-Policy header."""


class StatusPages:
    """Renders the pages. It keeps rendered rows between requests, so only one thread may use it at a time."""

    def __init__(self) -> None:
        style, script = ((_FOLDER / name).read_text("utf-8") for name in ("page.css", "page.js"))
        self._policy = "; ".join(
            (
                "default-src 'none'",
                f"style-src '{_hash(style)}'",
                f"script-src '{_hash(script)}'",
                "connect-src 'self'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'self'",
                "frame-ancestors 'none'",
            )
        )
        self._limits = default_limits()
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            version=__version__,
            revision=__revision__,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            console_links=console_links,
            run_strip=run_strip,
            limit=LIMIT,
            duration=lambda seconds: format_duration(float(round(seconds))),
            short_id=short_id,
            runbook=self._limits.runbook,
        )
        self._row_template = self._templates.get_template("row.html")
        self._rows = Rows(self._render_row, self._limits)

    def front(
        self,
        reports: Sequence[TransformReport],
        health: ExporterHealth,
        query: Mapping[str, str],
        telemetry_path: str,
        page_time: PageTime,
    ) -> HtmlPage:
        """Return the page of all transforms that the parameters of the query select and sort (see `RowFilter`)."""
        row_filter = RowFilter.from_query(query)
        outages = find_outages(reports, self._limits)
        rows = self._rows.update(reports, outages, page_time.utc)
        selected = row_filter.sorted(pair for pair in rows if row_filter.matches(pair[0]))
        plain = sum(not row.problems for row, _ in selected)
        head, *tail = self._render(
            "front.html",
            root="./",
            page_time=page_time,
            period=_refresh_period(health.interval),
            metrics=telemetry_path.removeprefix("/"),
            rows=TIME_PLACEHOLDER,
            selected=len(selected),
            row_filter=row_filter,
            status_counts=StatusCounts.of([row.summary for row, _ in rows]),
            health=health,
            outages=list(outages.values()),
            discovery_failures=[one for one in health.lanes if one.discovery_error and one.lane not in outages],
            folded=plain if plain > _UNFOLDED and not row_filter.words and row_filter.show == "all" else 0,
        )
        body = (piece for row, due in selected for piece in row.html(due, page_time))
        return HtmlPage(b"".join((head, *body, *tail)), self._policy)

    def _render_row(
        self,
        target: Target,
        summary: TransformSummary,
        problems: Sequence[Problem],
        recent: Sequence[RecentRun],
    ) -> str:
        return self._row_template.render(
            target=target,
            summary=summary,
            problems=problems,
            path=path_of(target),
            strip=run_strip.render_strip(recent),
            time=TIME_PLACEHOLDER,
        )

    def transform(self, report: TransformReport, interval: float, telemetry_path: str, page_time: PageTime) -> HtmlPage:
        """Return the page of one transform; `interval` is its poll interval in seconds."""
        snapshot = report.snapshot
        runs = snapshot.gauge_values.runs if snapshot and snapshot.gauge_values else {}
        types = list(dict.fromkeys([*TASK_TYPES, *(task_type for task_type, _ in runs)]))
        statuses = list(dict.fromkeys([*STATUSES, *(status for _, status in runs)]))
        summary = report.summary(self._limits, page_time.utc)
        active = [one for one in reversed(report.recent) if not one.run.final]
        page = self._render(
            "transform.html",
            root="../",
            page_time=page_time,
            period=_refresh_period(interval),
            metrics=telemetry_path.removeprefix("/"),
            target=report.target,
            summary=summary,
            is_problem=summary.health in PROBLEMS,
            due=report.due,
            snapshot=snapshot,
            runs=runs,
            types=[task_type for task_type in types if any(runs.get((task_type, status)) for status in statuses)],
            statuses=[status for status in statuses if any(runs.get((task_type, status)) for task_type in types)],
            recent=report.recent,
            # The run that is most likely to hang stands first.
            runs_in_order=[*active, *(one for one in report.recent if one.run.final)],
        )
        return HtmlPage(b"".join(page), self._policy)

    def not_found(self, root: str, telemetry_path: str, page_time: PageTime) -> HtmlPage:
        """Return the page for an address that no page has; `root` leads from there to the front page."""
        page = self._render(
            "not_found.html", root=root, page_time=page_time, period=10.0, metrics=telemetry_path.removeprefix("/")
        )
        return HtmlPage(b"".join(page), self._policy)

    def _render(self, template: str, **values: Any) -> list[bytes]:
        return split_at_times(self._templates.get_template(template).render(**values))


def short_id(transform_id: str) -> str:
    """Return an id that is cut in its middle, because many ids differ only at the end."""
    return transform_id if len(transform_id) <= 13 else f"{transform_id[:4]}…{transform_id[-8:]}"


def _refresh_period(interval: float) -> float:
    """Return the seconds between two updates of an open page: the poll interval, but at least 1 and at most 10."""
    return min(max(interval, 1.0), 10.0)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
