"""Write the rule files of Prometheus from `thresholds.toml`.

    python -m alerts.generate [--thresholds FILE] [--output FOLDER] [--check]

`--check` writes nothing and fails if a file is not what would be written.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from alerts.rules import Alert, Group, Recording, groups
from alerts.thresholds import Thresholds, ThresholdsError, read_thresholds

FOLDER = Path(__file__).parent
HEADER = "# Made by alerts/generate.py from alerts/thresholds.toml. Edit that one, then: make generate\n"


class _Dumper(yaml.SafeDumper):
    """YAML with its long strings as blocks, and without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is the base class's
        """Write everything in full."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def rule_files(thresholds: Thresholds) -> dict[str, str]:
    """Return the content of each rule file, by its name."""
    return {f"{group.name}.yaml": _file(group, thresholds) for group in groups(thresholds)}


def _file(group: Group, thresholds: Thresholds) -> str:
    rules = [_rule(rule, group, thresholds) for rule in group.rules]
    document = {"groups": [{"name": group.name, "rules": rules}]}
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


def _rule(rule: Recording | Alert, group: Group, thresholds: Thresholds) -> dict[str, Any]:
    if isinstance(rule, Recording):
        return {"record": rule.name, "expr": rule.expr}
    return {
        "alert": rule.name,
        "expr": rule.expr,
        **({"for": rule.held_for} if rule.held_for else {}),
        **({"keep_firing_for": rule.kept_for} if rule.kept_for else {}),
        "labels": {"severity": rule.severity},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": f"{thresholds.runbook_url}/{rule.name}.md",
            "dashboard_url": f"{thresholds.dashboard_url}/{group.dashboard}",
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 1 if the thresholds are wrong or a checked file is."""
    parser = argparse.ArgumentParser(prog="python -m alerts.generate", description=__doc__.partition("\n")[0])
    parser.add_argument("--thresholds", type=Path, default=FOLDER / "thresholds.toml", metavar="FILE")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file is out of date")
    options = parser.parse_args(arguments)
    try:
        files = rule_files(read_thresholds(options.thresholds))
    except ThresholdsError as error:
        print(error, file=sys.stderr)
        return 1
    outdated = [name for name, content in files.items() if _content(options.output / name) != content]
    if options.check:
        for name in outdated:
            print(f"{options.output / name} is out of date; run: make generate", file=sys.stderr)
        return 1 if outdated else 0
    for name in outdated:
        (options.output / name).write_text(files[name], encoding="utf-8")
    return 0


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
