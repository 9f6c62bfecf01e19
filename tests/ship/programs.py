"""How the tests of what is shipped run the programs that `make tools` unpacked."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support import tool


def environment(program: Path) -> dict[str, str]:
    """Give the environment in which a program that was unpacked into `.tools/` finds the libraries beside it."""
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
    """Run a program of `.tools/` to its end in `folder`; skip the test if it is not there."""
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
