"""`glue-ml-exporter runs`: options go in; the run history of transforms, as Glue lists it, goes to stdout."""

from exporter.cli.runs.command import show_runs

__all__ = ["show_runs"]
