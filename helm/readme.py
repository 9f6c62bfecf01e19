"""The README of the chart: `README.md.in` with a table of the values, from the comments in `values.yaml`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).parent / "README.md.in"
MARK = "<!-- values -->"


def readme(values: str) -> str:
    """Return the README for the content of a `values.yaml`."""
    rows = (f"| `{path}` | `{default}` | {text} |" for path, default, text in documented(values))
    table = "\n".join(("| value | default | |", "|---|---|---|", *rows))
    return SOURCE.read_text(encoding="utf-8").replace(MARK, table)


def documented(values: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, default (as JSON) and explanation of every value that has a comment `# -- ...` above it."""
    defaults = yaml.safe_load(values)
    keys: list[str] = []
    comment = ""
    for line in values.splitlines():
        indent, words = re.fullmatch(r"( *)(.*)", line).groups()  # type: ignore[union-attr]  # it matches every line
        if words.startswith("# -- "):
            comment = words.removeprefix("# -- ")
        elif words.startswith("#") and comment:
            comment += f" {words.removeprefix('#').strip()}"
        elif key := re.match(r"([\w-]+):", words):
            keys = [*keys[: len(indent) // 2], key[1]]
            if comment:
                yield ".".join(keys), _shown(_get(defaults, keys)), comment
            comment = ""


def _get(values: Any, keys: list[str]) -> Any:
    for key in keys:
        values = values[key]
    return values


def _shown(default: object) -> str:
    text = json.dumps(default)
    return text if len(text) <= 60 else "see values.yaml"
