"""For each mistake of `tests.counting.mutants` there is a test that fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counting.mutants import MUTANTS, Mutant, mutated
from tests.support import ROOT

each_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake.replace(" ", "-"))


@each_mutant
def test_each_mistake_fits_the_code(mutant: Mutant) -> None:
    """The function of each mutant exists and has the statement that the mutant changes."""
    function, code = mutated(mutant)
    parts = ("co_code", "co_consts", "co_names")
    assert any(getattr(function.__code__, part) != getattr(code, part) for part in parts)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", sorted({mutant.file for mutant in MUTANTS}))
def test_the_tests_find(file: str, tmp_path: Path) -> None:
    """For each mistake that tests of this file are to find, a test fails when the code has the mistake."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", f"tests/{file}"),
            *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "tests.counting.mutants"),
            f"--basetemp={tmp_path}/forks",  # a start of pytest changes the mode of the common folder
        ],
        cwd=ROOT,
        env={**os.environ, "HYPOTHESIS_PROFILE": "mutants", "CI": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
