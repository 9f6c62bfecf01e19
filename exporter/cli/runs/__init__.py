"""`glue-ml-exporter runs`: prints the run history of transforms, as Glue lists it."""

from exporter.cli.runs.command import show_runs

__all__ = ["show_runs"]
