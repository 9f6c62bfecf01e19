"""The rules of `alerts/` as templates of Helm: made with a mark for each threshold, whose place its value takes."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from alerts.generate import rule_files
from alerts.thresholds import Thresholds, read_thresholds

THRESHOLDS = Path(__file__).parents[1] / "alerts/thresholds.toml"
HEADER = "{{- /* Made by helm/generate.py from alerts/. Edit those, then: make generate */ -}}\n"


def camel(name: str) -> str:
    """Return the name that a threshold has among the values: `no_success_for` is `noSuccessFor`."""
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


def rules_template() -> str:
    """Return the file that defines `glue-ml-exporter.rules.<group>`; each takes the values of `prometheusRule`."""
    marks = dict(_marks(read_thresholds(THRESHOLDS)))
    marked = Thresholds.model_construct(**{name: mark for name, (mark, _) in marks.items()})
    replacements = [pair for _, pairs in marks.values() for pair in pairs]
    text = HEADER
    for content in rule_files(marked).values():
        for group in yaml.safe_load(content)["groups"]:
            rules = "".join(_rule(rule, replacements) for rule in group["rules"])
            text += f'{{{{- define "glue-ml-exporter.rules.{group["name"]}" -}}}}\n{{{{- $t := .thresholds -}}}}\n'
            text += f"{rules}{{{{- end }}}}\n"
    return text


Replacement = tuple[str, str]
"""What stands in a marked rule, and what it becomes in the template."""


def _marks(thresholds: Thresholds) -> Iterable[tuple[str, tuple[Any, list[Replacement]]]]:
    """Yield for each threshold a value that occurs nowhere else, and what it becomes.

    The marks are as long as the marks of no other kind, and none is the beginning of another.
    """
    for number, (name, value) in enumerate(thresholds):
        key = f"$t.{camel(name)}"
        if name == "joined_labels":
            mark = f"MARK{number}"
            yield name, ([mark], [(f", {mark}", f"{{{{ range {key} }}}}, {{{{ . }}}}{{{{ end }}}}")])
        elif isinstance(value, list):
            mark = f"MARK{number}"
            yield name, ([mark], [(mark, f'{{{{ join "|" {key} }}}}')])
        elif isinstance(value, str) and re.fullmatch("([0-9]+[a-z]+)+", value):
            seconds = 8100000 + number
            duration = (f"{seconds}s", f"{{{{ {key} }}}}")
            yield name, (f"{seconds}s", [duration, (str(seconds), _call_seconds(key))])
        elif isinstance(value, str):
            yield name, (f"MARK{number}", [(f"MARK{number}", f"{{{{ {key} }}}}")])
        else:
            count = 731000 + number
            if isinstance(value, int):
                yield name, (count, [(str(count), f"{{{{ int64 {key} }}}}")])
            else:
                yield name, (count / 100000, [(f"{count / 100000:g}", f"{{{{ {key} }}}}")])


def _call_seconds(key: str) -> str:
    return f'{{{{ include "glue-ml-exporter.seconds" {key} }}}}'


def _rule(rule: dict[str, Any], replacements: list[Replacement]) -> str:
    """Return one rule; an alert can be left out and takes further labels."""
    text = yaml.dump([rule], Dumper=_Dumper, sort_keys=False, width=10000, allow_unicode=True)
    text = text.replace("{{", '{{ "{{" }}')
    for mark, value in replacements:
        text = re.sub(rf"(?<![0-9]){re.escape(mark)}(?![0-9])", value.replace("\\", r"\\"), text)
    if "alert" not in rule:
        return text
    further = "{{- with .alertLabels }}\n{{ toYaml . | indent 4 }}\n{{- end }}\n"
    text = text.replace("  annotations:\n", f"  {further}  annotations:\n".replace("  {{-", "{{-", 1), 1)
    return f'{{{{- if not (has "{rule["alert"]}" .disabled) }}}}\n{text}{{{{- end }}}}\n'


class _Dumper(yaml.SafeDumper):
    """YAML with its long strings as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
