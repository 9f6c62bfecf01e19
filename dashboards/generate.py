"""Write the Grafana dashboards as JSON.

    python -m dashboards.generate [--output FOLDER] [--check]

`--check` writes nothing, and fails if a file differs from the text that would be written.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.exporter_dashboard import exporter
from dashboards.overview import overview
from dashboards.transform import transform

FOLDER = Path(__file__).parents[1] / "exporter/cli/dashboards"
"""The package of the command `dashboards`, which writes these files from an installed wheel."""


def built_dashboards() -> dict[str, str]:
    """Return the content of each file by file name. The file name is the uid of the dashboard with `.json`."""
    files = {}
    for built in (overview().build(), transform().build(), exporter().build()):
        text = json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        files[f"{built.uid}.json"] = text + "\n"
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 1 if a checked file is out of date."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.generate", description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file is out of date")
    options = parser.parse_args(arguments)
    files = built_dashboards()
    outdated = [name for name, content in files.items() if _content(options.output / name) != content]
    for name in outdated:
        if options.check:
            print(f"{options.output / name} is out of date; run: make generate", file=sys.stderr)
        else:
            (options.output / name).write_text(files[name], encoding="utf-8")
    return 1 if options.check and outdated else 0


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
