"""Write the files of the chart that are generated from other files in the repository.

    python -m helm.generate [--check]

- `Chart.yaml`: both versions, from `exporter/__init__.py`
- `templates/_rules.tpl`: the rules of `exporter/cli/rules/`, with each setting replaced by a value of the chart
- `dashboards/`: copies of the dashboards that the command `dashboards` writes
- `values.schema.json`: the allowed values, from the defaults in `values.yaml` and from `exporter/config/schema.py`
- `README.md`: the table of values, from the comments in `values.yaml`

`--check` writes nothing, and fails if a file differs from the text that would be written.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from exporter import __version__
from exporter.cli.dashboards.files import dashboard_files
from helm.readme import readme
from helm.rules import rules_template
from helm.valuesschema import values_schema

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm/glue-ml-exporter"


def files() -> dict[Path, str]:
    """Return the content of each generated file."""
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    chart = (CHART / "Chart.yaml").read_text(encoding="utf-8")
    return {
        CHART / "Chart.yaml": re.sub("^(version|appVersion): .*$", rf"\1: {__version__}", chart, flags=re.MULTILINE),
        CHART / "templates/_rules.tpl": rules_template(),
        CHART / "values.schema.json": json.dumps(values_schema(values), indent=2) + "\n",
        CHART / "README.md": readme(values),
        **{CHART / "dashboards" / name: content for name, content in dashboard_files().items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 1 if a checked file is out of date."""
    parser = argparse.ArgumentParser(prog="python -m helm.generate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file is out of date")
    check = parser.parse_args(arguments).check
    generated = files()
    outdated = [path for path, content in generated.items() if not path.is_file() or path.read_text("utf-8") != content]
    surplus = [path for path in (CHART / "dashboards").glob("*.json") if path not in generated]
    for path in outdated + surplus:
        if check:
            print(f"{path.relative_to(ROOT)} is out of date; run: make generate", file=sys.stderr)
        elif path in surplus:
            path.unlink()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(generated[path], encoding="utf-8")
    return 1 if check and (outdated or surplus) else 0


if __name__ == "__main__":
    sys.exit(main())
