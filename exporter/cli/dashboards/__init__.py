"""`dashboards`: write the Grafana dashboards, which are the JSON files in this folder, to another folder.

The files are written by `python -m dashboards.generate` in the repository, with a library that only developers install.
"""

from importlib.resources import files
from pathlib import Path

from exporter.cli.options import DashboardsOptions
from exporter.cli.output.folder import write_files


def write_dashboards(options: DashboardsOptions) -> int:
    """Write the dashboards to the folder and print their paths; return 0.

    Raises:
        OSError: a file cannot be written.
    """
    write_files(Path(options.output), dashboard_files())
    return 0


def dashboard_files() -> dict[str, str]:
    """Return the content of each dashboard by its file name, which is its uid with `.json`."""
    found = (path for path in files(__name__).iterdir() if path.name.endswith(".json"))
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(found, key=lambda path: path.name)}
