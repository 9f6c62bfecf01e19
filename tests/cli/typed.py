"""Commands that run in the process of the test, and their output."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exporter.cli.check_live import check_live
from exporter.cli.options import CheckConfigOptions, RunsOptions
from exporter.cli.parser import parse
from exporter.cli.runs.command import show_runs
from exporter.config.settings import read_config

QUICK = {"requests_per_second": "1000", "max_attempts": "1"}


@dataclass(frozen=True)
class Typed:
    """The output and the exit code of a command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The runs of an output in JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def run_ids(self) -> list[str]:
        """The ids of the runs of an output in JSON lines."""
        return [run["TaskRunId"] for run in self.objects]


def configure(folder: Path, url: str, **sections: Any) -> Path:
    """Write a configuration with this endpoint, one attempt for each call and a high rate limit."""
    file = folder / "config.yaml"
    content = {"region": "eu-west-1", "endpoint_url": url, "polling": QUICK, **sections}
    file.write_text(yaml.safe_dump(content))
    return file


def runs(*arguments: str, environ: Mapping[str, str] | None = None, output: io.StringIO | None = None) -> Typed:
    """Run `glue-ml-exporter runs` with these arguments."""
    options = parse(["runs", *arguments], environ or {})
    assert isinstance(options, RunsOptions)
    out, err = output or io.StringIO(), io.StringIO()
    code = show_runs(options, out, err)
    return Typed(code, out.getvalue(), err.getvalue())


def live(file: Path) -> Typed:
    """Run `glue-ml-exporter check-config --live` with this configuration."""
    options = parse(["check-config", "--live", f"--config.file={file}"], {})
    assert isinstance(options, CheckConfigOptions)
    out, err = io.StringIO(), io.StringIO()
    code = check_live(read_config(file, environ={}), out, err)
    return Typed(code, out.getvalue(), err.getvalue())
