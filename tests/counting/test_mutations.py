"""For each mistake of `tests.counting.mutants` there is a test that fails."""

import os
import subprocess
import sys

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
@each_mutant
def test_the_tests_find(mutant: Mutant) -> None:
    """The named tests fail when the code has this mistake."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", f"tests/{mutant.found_by}"),
            *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "tests.counting.mutants"),
        ],
        cwd=ROOT,
        env={**os.environ, "MUTANT": mutant.mistake, "HYPOTHESIS_PROFILE": "mutants", "CI": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    tests_failed = 1  # any other exit code means that pytest could not run them
    assert done.returncode == tests_failed, done.stdout[-2000:] + done.stderr[-2000:]
