"""Run the programs that `make tools` has unpacked, for the tests of packaging."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support import tool


def environment(program: Path) -> dict[str, str]:
    """Return an environment in which a program of `.tools/` finds the libraries that `make tools` has unpacked."""
    folder = program.parents[2]
    libraries = {file.parent for file in folder.glob("usr/lib/*-linux-gnu/**/lib*.so*")}
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "LD_LIBRARY_PATH": ":".join(map(str, libraries))}


def call(
    name: str,
    *arguments: str | Path,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run a program of `.tools/` in `folder` and wait until it ends; skip the test if the program is missing."""
    program = tool(name)
    return subprocess.run(
        [program, *arguments],
        cwd=folder,
        env={**environment(program), **(environ or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
