"""The pages, rendered from what is published; nothing here asks AWS or waits for a poll."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from exporter import __revision__, __version__
from exporter.config.durations import format_duration
from exporter.counting.recent_runs import LIMIT, RecentRun
from exporter.model.task_run import STATUSES, TASK_TYPES
from exporter.model.transform import Target
from exporter.statuspage import Document
from exporter.statuspage import console_links as consoles
from exporter.statuspage import run_strip as strip
from exporter.statuspage.exporter_health import ExporterHealth
from exporter.statuspage.rows import GAP, PROBLEMS, Lines, Tally, Wanted, path_of, pieces_of
from exporter.statuspage.summary import Summary, TransformReport
from exporter.statuspage.times import Moment

_FOLDER = Path(__file__).parent / "templates"


class StatusPages:
    """Renders; one thread at a time."""

    def __init__(self) -> None:
        style, script = ((_FOLDER / name).read_text() for name in ("page.css", "page.js"))
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
            consoles=consoles,
            limit=LIMIT,
            strip=strip,
            duration=lambda seconds: format_duration(float(round(seconds))),
        )
        self._line = self._templates.get_template("line.html")
        self._lines = Lines(self._render_line)

    def front(
        self,
        reports: Sequence[TransformReport],
        health: ExporterHealth,
        query: Mapping[str, str],
        telemetry_path: str,
        moment: Moment,
    ) -> Document:
        """Return the page of all transforms, or of those that the ``query`` asks for."""
        period = _period(health.interval)
        wanted = Wanted.of(query)
        lines = self._lines.of(reports)
        chosen = sorted((pair for pair in lines if wanted.has(pair[0])), key=lambda pair: pair[0].order)
        head, *tail = self._render(
            "front.html",
            root="./",
            moment=moment,
            period=period,
            metrics=telemetry_path.removeprefix("/"),
            lines=GAP,
            count=len(chosen),
            wanted=wanted,
            tally=Tally.of([line.summary for line, _ in lines]),
            health=health,
        )
        body = (piece for line, due in chosen for piece in line.html(due, moment))
        return Document(b"".join((head, *body, *tail)), self._policy)

    def _render_line(self, target: Target, summary: Summary, recent: Sequence[RecentRun]) -> str:
        marks = strip.marks(recent)
        return self._line.render(target=target, its=summary, path=path_of(target), marks=marks, gap=GAP)

    def transform(self, report: TransformReport, interval: float, telemetry_path: str, moment: Moment) -> Document:
        """Return the page of one transform, which is polled at this interval."""
        period = _period(interval)
        snapshot = report.snapshot
        cells = snapshot.view.runs if snapshot and snapshot.view else {}
        types = list(dict.fromkeys([*TASK_TYPES, *(kind for kind, _ in cells)]))
        statuses = list(dict.fromkeys([*STATUSES, *(status for _, status in cells)]))
        summary = report.summary()
        page = self._render(
            "transform.html",
            root="../",
            moment=moment,
            period=period,
            metrics=telemetry_path.removeprefix("/"),
            target=report.target,
            its=summary,
            is_problem=summary.health in PROBLEMS,
            due=report.due,
            snapshot=snapshot,
            cells=cells,
            types=[kind for kind in types if any(cells.get((kind, status)) for status in statuses)],
            statuses=[status for status in statuses if any(cells.get((kind, status)) for kind in types)],
            recent=report.recent,
        )
        return Document(b"".join(page), self._policy)

    def _render(self, template: str, **values: Any) -> list[bytes]:
        return pieces_of(self._templates.get_template(template).render(**values))


def _period(interval: float) -> float:
    """Return after how many seconds a page that is open asks for what is new: about as often as polls bring it."""
    return min(max(interval, 1.0), 10.0)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
