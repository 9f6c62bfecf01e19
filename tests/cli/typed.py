"""Commands typed in this process, in a folder of their own, and what came of them."""

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
    """What a command has printed, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The runs in JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def run_ids(self) -> list[str]:
        """The ids of these runs."""
        return [run["TaskRunId"] for run in self.objects]


def configure(folder: Path, url: str, **sections: Any) -> Path:
    """Write a configuration with this endpoint, quick and of few attempts."""
    file = folder / "config.yaml"
    content = {"region": "eu-west-1", "endpoint_url": url, "polling": QUICK, **sections}
    file.write_text(yaml.safe_dump(content))
    return file


def runs(*arguments: str, environ: Mapping[str, str] | None = None, output: io.StringIO | None = None) -> Typed:
    """Type `glue-ml-exporter runs` with these arguments."""
    options = parse(["runs", *arguments], environ or {})
    assert isinstance(options, RunsOptions)
    out, err = output or io.StringIO(), io.StringIO()
    code = show_runs(options, out, err)
    return Typed(code, out.getvalue(), err.getvalue())


def live(file: Path) -> Typed:
    """Type `glue-ml-exporter check-config --live` with this configuration."""
    options = parse(["check-config", "--live", f"--config.file={file}"], {})
    assert isinstance(options, CheckConfigOptions)
    out, err = io.StringIO(), io.StringIO()
    code = check_live(read_config(file, environ={}), out, err)
    return Typed(code, out.getvalue(), err.getvalue())
