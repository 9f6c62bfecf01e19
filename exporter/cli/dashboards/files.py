"""`dashboards`: write the Grafana dashboards of this package to a folder."""

from importlib.resources import files
from pathlib import Path

from exporter.cli.options import DashboardsOptions
from exporter.cli.output.folder import write_files


def write_dashboards(options: DashboardsOptions) -> int:
    """Write the dashboards to the folder and print their paths; return 0.

    Raises:
        ExporterError: the path of the folder belongs to a file.
        OSError: a file cannot be written.
    """
    write_files(Path(options.output), dashboard_files())
    return 0


def dashboard_files() -> dict[str, str]:
    """Return the content of each dashboard by its file name, which is its uid with `.json`."""
    found = (path for path in files(__package__).iterdir() if path.name.endswith(".json"))
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(found, key=lambda path: path.name)}
