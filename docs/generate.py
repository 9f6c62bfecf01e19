"""Generate the reference pages from the code, or check that they are up to date.

`python docs/generate.py` writes the pages. With `--check` it names each page that differs, and exits with 1.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from prometheus_client import Metric as Family

from exporter.cli.flags import COMMANDS, FLAGS, PROGRAM, Command
from exporter.cli.rules.groups import groups
from exporter.cli.rules.model import Alert
from exporter.config.thresholds import DEFAULTS, read_thresholds
from exporter.counting.counters import FIRST_SERIES
from exporter.counting.run_kinds import KNOWN_KINDS
from exporter.exposition.metrics import LAST_POLL, METRICS, TRANSFORM_STATUSES, Metric
from exporter.glue.error_table import REASONS
from exporter.model.failure_reasons import BUILT_IN, LONGEST_ERROR, OTHER
from exporter.model.failure_reasons import REASONS as FAILURE_REASONS
from exporter.model.task_run import FAILURES, STATUSES, TASK_TYPES
from exporter.model.transform import Lane
from exporter.telemetry import Telemetry

DOCS = Path(__file__).parent
MAP = DOCS / "design" / "0001-the-datas-way.md"
ALERTS = DOCS / "alerts.md"
EXAMPLE = DOCS.parent / "config.example.yaml"

CREATED_LATER = "with the first finished run"
SERIES = {
    "glue_ml_task_runs": str(len(KNOWN_KINDS)),
    "glue_ml_task_runs_started_total": str(sum(series.family == "started" for series in FIRST_SERIES)),
    "glue_ml_task_runs_finished_total": str(sum(series.family == "finished" for series in FIRST_SERIES)),
    "glue_ml_task_run_execution_seconds": f"buckets + 3 for each type and status, {CREATED_LATER}",
    "glue_ml_task_run_duration_seconds": f"buckets + 3 for each type and status, {CREATED_LATER}",
    "glue_ml_task_run_last_failure_timestamp_seconds": f"up to {len(FAILURES)} for each type that has run",
    "glue_ml_task_run_last_failure_info": f"up to {len(FAILURES)} for each type that has run",
    "glue_ml_task_run_latest_status": f"{len(STATUSES)} for each type that has run",
    "glue_ml_transform_status": str(len(TRANSFORM_STATUSES)),
}
"""Series per transform of the metrics that have neither one series nor one for each task type."""


def main(arguments: list[str]) -> int:
    """Write or check all pages. Return the exit code: 1 if a checked page is out of date, else 0."""
    pages = {
        DOCS / "metrics.md": metrics_page(),
        DOCS / "configuration.md": configuration_page(),
        DOCS / "command-line.md": command_line_page(),
        ALERTS: alerts_page(),
        MAP: module_map(),
    }
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"docs/{path.name} is out of date; run: python docs/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
    return 0


PACKAGES = (
    "cli",
    "config",
    "model",
    "polling",
    "glue",
    "counting",
    "state",
    "exposition",
    "web",
    "statuspage",
    "simulator",
)  # fmt: skip - one line, in the order of the data's way
"""The packages of the exporter, as 0001 lists them."""


def alerts_page() -> str:
    """Return alerts.md with the table of all alerts and the defaults of their settings."""
    rows = [
        f"| [{rule.name}](runbooks/{rule.name}.md) | {rule.settings.severity} | {rule.when} | {rule.soon}"
        f" | {rule.suppressed_by} | {rule.action} |"
        for group in groups(read_thresholds(None))
        for rule in group.rules
        if isinstance(rule, Alert)
    ]
    head = (
        "| alert | severity | when | how soon | what suppresses it | what to do first |",
        "|---|---|---|---|---|---|",
    )
    text = _between(ALERTS.read_text(encoding="utf-8"), "alerts", "\n".join((*head, *rows)))
    return _between(text, "settings", f"```toml\n{DEFAULTS.read_text(encoding='utf-8')}```")


def _between(text: str, name: str, content: str) -> str:
    """Return the text of a page with the content between the two markers of this name."""
    begin, end = f"<!-- {name}: python docs/generate.py -->\n", f"<!-- /{name} -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}{content}\n{end}{rest.partition(end)[2]}"


def module_map() -> str:
    """Return 0001 with the first sentence of each module between its two markers."""
    begin, end = "<!-- modules: python docs/generate.py -->\n", "<!-- /modules -->"
    text = MAP.read_text(encoding="utf-8")
    root = DOCS.parent / "exporter"
    tables = [
        _module_table("exporter", sorted(root.glob("*.py")), root),
        *(_module_table(package, sorted((root / package).rglob("*.py")), root / package) for package in PACKAGES),
    ]
    return f"{text.partition(begin)[0]}{begin}\n{chr(10).join(tables)}\n{end}{text.partition(end)[2]}"


def _module_table(package: str, modules: Iterable[Path], folder: Path) -> str:
    rows = [
        f"| `{module.relative_to(folder)}` | {_first_sentence(module)} |"
        for module in modules
        if module.name not in {"__init__.py", "__main__.py"}
    ]
    return "\n".join([f"| {package} | {_first_sentence(folder / '__init__.py')} |", "|---|---|", *rows]) + "\n"


def _first_sentence(module: Path) -> str:
    paragraph = (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
    sentence = re.split(r"(?<=[.])\s", " ".join(paragraph.split()))[0]
    return sentence.removesuffix(".").replace("|", "\\|")


def metrics_page() -> str:
    """Return the reference of all metrics."""
    lines = [
        "# Metrics",
        "",
        "Generated from the code by `docs/generate.py`. A test checks that this page is up to date.",
        "",
        "## About Glue",
        "",
        "Each series about a transform has the labels `transform_id` and `transform_name`. Ids are unique, names are",
        "not. All other labels of a transform, including those from the configuration, are on",
        "`glue_ml_transform_info`; join them with `group_left`. Samples carry no timestamp; the age of the data is",
        "`time() - glue_ml_transform_last_successful_poll_timestamp_seconds`. Control characters and line separators",
        "in a label value become blanks, because some readers would lose the whole scrape.",
        "",
        "| metric | type | labels | meaning | series per transform |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(metric) for metric in METRICS]
    lines += [
        "",
        f'Each HELP text ends with "{LAST_POLL}"',
        "",
        "### Reasons of failed runs",
        "",
        "The label `reason` of `glue_ml_task_run_last_failure_info` is the class of the ErrorString. It is the first",
        f"of these reasons that has a text in the first {LONGEST_ERROR:,} characters, in upper or lower case:",
        "",
        *(f"- `{reason}`: {_texts(reason)}" for reason in FAILURE_REASONS if reason != OTHER),
        "",
        "A run that ended in TIMEOUT without such a text has the reason `timeout`, and a FAILED run `other`.",
        "`exporter/model/failure_reasons.py` has all texts. `metrics.failure_reasons` adds reasons, which are tried",
        "first.",
        "",
        "## About the exporter",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
        *(_own_row(family) for family in _own_families()),
        "",
        "The exporter also serves the metrics of its process and of Python (`process_*`, `python_*`) from",
        "prometheus_client. The flag `--web.disable-exporter-metrics` removes them.",
        "",
    ]
    return "\n".join(lines)


def _row(metric: Metric) -> str:
    series = _series(metric.name, metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {_names(metric.labels)} | {metric.documentation} | {series} |"


def _texts(reason: str) -> str:
    patterns = [pattern for found, pattern in BUILT_IN if found == reason]
    shown = ", ".join(f'"{pattern}"' for pattern in patterns[:4])
    return f"{shown}, and {len(patterns) - 4} more" if len(patterns) > 4 else shown


def _names(labels: Iterable[str]) -> str:
    return ", ".join(f"`{label}`" for label in labels)


def _series(name: str, labels: tuple[str, ...]) -> str:
    return SERIES.get(name) or (f"up to {len(TASK_TYPES)}, one for each type" if labels == ("task_type",) else "1")


def _own_families() -> list[Family]:
    telemetry = Telemetry(process=False)
    telemetry.create_series([Lane("default", "eu-west-1")], REASONS)
    telemetry.add_state_metrics()
    telemetry.add_web_config_metrics()
    return list(telemetry.registry.collect())


def _own_row(family: Family) -> str:
    name = family.name + ("_total" if family.type == "counter" else "")
    kind = "gauge" if family.type in ("info", "stateset") else family.type
    return f"| `{name}` | {kind} | {_names(own_labels(name))} | {family.documentation} |"


def own_labels(name: str) -> tuple[str, ...]:
    """Return the label names of one of the exporter's own metrics."""
    telemetry = Telemetry(process=False)
    telemetry.add_state_metrics()
    telemetry.add_web_config_metrics()
    for collector in vars(telemetry).values():
        if getattr(collector, "_name", None) == name.removesuffix("_total"):
            return tuple(collector._labelnames)  # noqa: SLF001 - prometheus_client has no public way to read them without a sample
    return ("version", "revision", "pythonversion") if name.endswith("build_info") else ()


class Key(NamedTuple):
    """One key of the example: its path, its value and the comment beside it."""

    path: str
    value: str
    meaning: str


ONLY_AN_EXAMPLE = re.compile(r"region|(accounts|transforms|discovery)\b(?!\[\]\.interval$)")
"""Keys whose value in the example is only an example. The other values are defaults; a test checks this."""


def configuration_page() -> str:
    """Return the reference of all keys of the configuration, from the example and its comments."""
    lines = [
        "# Configuration",
        "",
        "Generated by `docs/generate.py` from [config.example.yaml](../config.example.yaml), which shows all keys in",
        "one file. A test checks that this page is up to date.",
        "",
        "Required are a region, and `transforms` or `discovery`. An unknown key is an error; a key with an empty value",
        "keeps its default. Durations are Prometheus durations: `90s`, `5m`, `1h30m`, `7d`. A boolean is `true` or",
        "`false` (also `yes`, `no`, `on`, `off`, `1`, `0`). In every value, `${NAME}` and `${NAME:-default}` are",
        "replaced by an environment variable, and `$$` is a literal `$`. Values that occur several times can be",
        "written once under a top-level key that begins with `x-`, with an anchor, and merged with `<<: *anchor`.",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{key.path}` | {_default(key)} | {key.meaning} |" for key in _example_keys()]
    return "\n".join((*lines, ""))


def _default(key: Key) -> str:
    if not key.value:
        return ""
    return f"e.g. `{key.value}`" if ONLY_AN_EXAMPLE.match(key.path) else f"`{key.value}`"


def _example_keys() -> Iterator[Key]:
    """Yield each key of the example once, in its order, without the names of sections."""
    text = EXAMPLE.read_text(encoding="utf-8")
    lines = text.splitlines()
    seen = set()
    for path, line in _key_lines(yaml.compose(text)):
        match = re.fullmatch(r"[ -]*\w+:\s*(.*?)\s*(?:#\s*(.*))?", lines[line])
        if match and (match[1] or match[2]) and path not in seen:
            seen.add(path)
            yield Key(path, match[1], match[2] or "")


def _key_lines(node: yaml.Node | None, path: str = "") -> Iterator[tuple[str, int]]:
    """Yield the path and the line of every key that has a line of its own."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        for item in node.value:
            yield from _key_lines(item, f"{path}[]")
    elif isinstance(node, yaml.MappingNode) and not node.flow_style:
        for key, value in node.value:
            inner = f"{path}.{key.value}".removeprefix(".")
            yield inner, key.start_mark.line
            yield from _key_lines(value, inner)


def command_line_page() -> str:
    """Return the reference of commands and flags."""
    lines = [
        "# Command line",
        "",
        "Generated from the code by `docs/generate.py`. A test checks that this page is up to date.",
        "",
        "| command | does |",
        "|---|---|",
        *(f"| [`{PROGRAM} {command.name}`](#{command.name}) | {command.help} |" for command in COMMANDS),
        "",
        "Set a flag as `--flag=value`, as `--flag value` or as an environment variable; the command line overrides the",
        "environment. A switch takes no value: `--name` turns it on and `--no-name` turns it off. In the environment a",
        "switch is `true` or `false`.",
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
    lines += [
        "",
        "Every command exits with 2 after a usage error, and with 130 after Ctrl-C. `serve` stops after Ctrl-C and",
        "exits with 0. `serve` also exits with 2 if a configuration file is missing or invalid, because a restart does",
        "not help then.",
    ]
    for command in COMMANDS:
        lines += _command_section(command)
    return "\n".join((*lines, ""))


def _command_section(command: Command) -> list[str]:
    operand = f" {command.operand.usage}" if command.operand else ""
    return [
        "",
        f"## {command.name}",
        "",
        f"`{PROGRAM} {command.name} [FLAGS]{operand}`: {command.help}.",
        *(["", command.details.strip()] if command.details else []),
        "",
        "```sh",
        *command.examples,
        "```",
        "",
        "| exit code | means |",
        "|---|---|",
        *(f"| {code} | {meaning} |" for code, meaning in command.exits),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
