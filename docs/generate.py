"""Writes the documentation that is a table of something in the code, or checks that it is up to date.

`python docs/generate.py` writes; with `--check` it names each page that differs and exits 1.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric as Family

from exporter.facts import KNOWN_CELLS
from exporter.flags import COMMANDS, FLAGS
from exporter.metrics import LAST_POLL, METRICS, Metric
from exporter.targets import Lane
from exporter.telemetry import Telemetry
from exporter.totals import FIRST_SERIES

DOCS = Path(__file__).parent

BORN_LATER = "with the first finished run"
SERIES = {
    "glue_ml_task_runs": str(len(KNOWN_CELLS)),
    "glue_ml_task_runs_started_total": str(sum(series.family == "started" for series in FIRST_SERIES)),
    "glue_ml_task_runs_finished_total": str(sum(series.family == "finished" for series in FIRST_SERIES)),
    "glue_ml_task_run_execution_seconds": f"buckets + 3 for each type and status, {BORN_LATER}",
    "glue_ml_task_run_duration_seconds": f"buckets + 3 for each type and status, {BORN_LATER}",
    "glue_ml_task_run_latest_status": "7 for each type that has run",
    "glue_ml_transform_status": "3",
}
"""Series per transform, where it is not one (without own labels) or one for each value of the labels seen."""


def main(arguments: list[str]) -> int:
    """Write or check all pages; return the exit code."""
    pages = {DOCS / "metrics.md": metrics_page(), DOCS / "command-line.md": command_line_page()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"docs/{path.name} is not up to date; run: python docs/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
    return 0


def metrics_page() -> str:
    """Return the reference of all metrics."""
    lines = [
        "# Metrics",
        "",
        "Made by `docs/generate.py` from the code; a test keeps both equal.",
        "",
        "## About Glue",
        "",
        "Each series about a transform has the labels `transform_id` and `transform_name`. Names are not unique, ids",
        "are. What else is known about a transform is on `glue_ml_transform_info`, to be joined with `group_left`; the",
        "labels that the configuration gives a transform are there too. No sample carries a timestamp; the age of the",
        "data is `time() - glue_ml_transform_last_successful_poll_timestamp_seconds`.",
        "",
        "| metric | type | labels | meaning | series per transform |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(metric) for metric in METRICS]
    lines += [
        "",
        f'The HELP text of each ends in "{LAST_POLL}"',
        "",
        "## About the exporter",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
        *(_own_row(family) for family in _own_families()),
        "",
        "Beside these there are the metrics of the process and its runtime (`process_*`, `python_*`) as",
        "prometheus_client has them; `--web.disable-exporter-metrics` leaves them out.",
        "",
    ]
    return "\n".join(lines)


def _row(metric: Metric) -> str:
    series = _series(metric.name, metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {_names(metric.labels)} | {metric.documentation} | {series} |"


def _names(labels: Iterable[str]) -> str:
    return ", ".join(f"`{label}`" for label in labels)


def _series(name: str, labels: tuple[str, ...]) -> str:
    return SERIES.get(name) or ("1" if not labels or name.endswith("_info") else "up to 1 for each label value")


def _own_families() -> list[Family]:
    telemetry = Telemetry(process=False)
    telemetry.expect([Lane("default", "eu-west-1")])
    telemetry.expect_state()
    return list(telemetry.registry.collect())


def _own_row(family: Family) -> str:
    name = family.name + ("_total" if family.type == "counter" else "")
    kind = "gauge" if family.type in ("info", "stateset") else family.type
    return f"| `{name}` | {kind} | {_names(own_labels(name))} | {family.documentation} |"


def own_labels(name: str) -> tuple[str, ...]:
    """Return the label names of one of the exporter's own metrics."""
    telemetry = Telemetry(process=False)
    telemetry.expect_state()
    for collector in vars(telemetry).values():
        if getattr(collector, "_name", None) == name.removesuffix("_total"):
            return tuple(collector._labelnames)  # noqa: SLF001 - a metric without samples tells them nowhere else
    return ("version", "revision", "pythonversion") if name.endswith("build_info") else ()


def command_line_page() -> str:
    """Return the reference of commands and flags."""
    lines = [
        "# Command line",
        "",
        "Made by `docs/generate.py` from the code; a test keeps both equal.",
        "",
        "| command | does |",
        "|---|---|",
        *(f"| `glue-ml-exporter {command.name}` | {command.help} |" for command in COMMANDS),
        "",
        "Each flag may be given as `--flag=value` or `--flag value`, or as an environment variable; the command line",
        "wins. A switch takes no value, and `--no-` before its name turns it off; in the environment it is `true` or",
        "`false`.",
        "",
        "| flag | default | environment | for | meaning |",
        "|---|---|---|---|---|",
    ]
    for flag in FLAGS:
        value = f"={flag.metavar}" if flag.metavar else ""
        repeatable = " (repeatable; separated by commas in the environment)" if flag.repeatable else ""
        default = f"`{flag.default}`" if flag.default else ""
        commands = ", ".join(flag.commands)
        lines.append(
            f"| `--{flag.name}{value}` | {default} | `{flag.variable}` | {commands} | {flag.help}{repeatable} |"
        )
    return "\n".join((*lines, "", "SIGHUP reloads the configuration, SIGTERM and SIGINT stop gracefully.", ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
