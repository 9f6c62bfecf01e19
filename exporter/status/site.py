"""The pages, rendered from what is published; nothing here asks AWS or waits for a poll."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from exporter import __revision__, __version__
from exporter.durations import format_duration
from exporter.recent import LIMIT, RecentRun
from exporter.runs import STATUSES, TASK_TYPES
from exporter.standing import Standing
from exporter.status import consoles, strip
from exporter.status.health import Health
from exporter.status.rows import PROBLEMS, Document, Moment, Wanted, row_of, rows_of, tally_of, time_of

_FOLDER = Path(__file__).parent / "templates"


class StatusPages:
    """Renders; one thread at a time. What of a transform does not change with time is kept rendered."""

    def __init__(self) -> None:
        self._strips: dict[str, tuple[Sequence[RecentRun], Markup]] = {}
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
            mark_of=strip.mark_of,
            took=strip.took,
            duration=lambda seconds: format_duration(float(round(seconds))),
            problems=PROBLEMS,
        )

    def front(
        self,
        standings: Sequence[Standing],
        health: Health,
        query: Mapping[str, str],
        telemetry_path: str,
        moment: Moment,
    ) -> Document:
        """Return the page of all transforms, or of those that the ``query`` asks for."""
        wanted = Wanted.of(query)
        known = {standing.target.id for standing in standings}
        self._strips = {name: kept for name, kept in self._strips.items() if name in known}
        rows = rows_of(standings, wanted, moment)
        return self._document(
            "front.html",
            root="./",
            telemetry_path=telemetry_path,
            moment=moment,
            rows=rows,
            wanted=wanted,
            tally=tally_of(standings),
            health=health,
            strip=self._strip,
            time=lambda seconds: time_of(seconds, moment.utc),
        )

    def transform(self, standing: Standing, telemetry_path: str, moment: Moment) -> Document:
        """Return the page of one transform."""
        view = standing.picture.view if standing.picture else None
        cells = view.runs if view else {}
        types = list(dict.fromkeys([*TASK_TYPES, *(kind for kind, _ in cells)]))
        statuses = list(dict.fromkeys([*STATUSES, *(status for _, status in cells)]))
        return self._document(
            "transform.html",
            root="../",
            telemetry_path=telemetry_path,
            moment=moment,
            row=row_of(standing, moment),
            picture=standing.picture,
            cells=cells,
            types=[kind for kind in types if any(cells.get((kind, status)) for status in statuses)],
            statuses=[status for status in statuses if any(cells.get((kind, status)) for kind in types)],
            recent=standing.recent,
            strip=self._strip,
            time=lambda seconds: time_of(seconds, moment.utc),
        )

    def _document(self, template: str, **values: Any) -> Document:
        now = time_of(values["moment"].utc, values["moment"].utc)
        text = self._templates.get_template(template).render(now=now, **values)
        return Document(text.encode("utf-8", "replace"), self._policy)

    def _strip(self, standing: Standing) -> Markup:
        kept, marks = self._strips.get(standing.target.id, (None, Markup()))
        if kept is not standing.recent:
            marks = strip.marks(standing.recent)
            self._strips[standing.target.id] = standing.recent, marks
        return marks


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
