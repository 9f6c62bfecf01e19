"""Plausible mistakes in the counting core, made on purpose: the tests find each of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import ROOT


class Mutant(NamedTuple):
    """One mistake: in which module of the package, the text that it puts in the place of another, and who finds it.

    Any test may; one file of tests is named that does, for to run all of them on each mistake takes an hour.
    """

    mistake: str
    module: str
    right: str
    wrong: str
    found_by: str = "counting/test_ledger"


MUTANTS = (
    Mutant(
        "skip the overlap",
        "counting/ledger",
        "recent = max(self.watermark - overlap, cutoff)",
        "recent = max(self.watermark, cutoff)",
    ),
    Mutant(
        "forget too early",
        "counting/ledger",
        "limit = int(cutoff * 1000) << CODE_BITS",
        "limit = int((cutoff + 3600) * 1000) << CODE_BITS",
    ),
    Mutant(
        "take the first poll for news",
        "counting/ledger",
        "self.floor = math.inf",
        "self.floor = 0.0",
    ),
    Mutant(
        "count a run at first sight and again at its end",
        "counting/ledger",
        "        self.open[run.run_id] = run\n\n    @property",
        "        self.open[run.run_id] = run\n        self.finished[fingerprint] = run\n\n    @property",
    ),
    Mutant(
        "let the floor follow the cutoff",
        "counting/ledger",
        "self.floor = min(self.floor, reading.since)",
        "self.floor = max(min(self.floor, reading.since), reading.cutoff)",
    ),
    Mutant(
        "not raise the floor above what is forgotten",
        "counting/ledger",
        "self.floor = max(self.floor, started_of(packed) + 2 * TICK)",
        "pass",
    ),
    Mutant(
        "count again when a finished run changes its status",
        "counting/ledger",
        "            self.recanted.append((told, self._ledger.run_kinds.run_kind(packed & CODE_MASK)[1]))",
        "            self.recanted.append((told, self._ledger.run_kinds.run_kind(packed & CODE_MASK)[1]))\n"
        "            self.finished[fingerprint] = told",
    ),
    Mutant(
        "not look up the open runs that the listing does not show",
        "counting/ledger",
        "for run_id in (*self._ledger.open, *self._ledger.gone)",
        "for run_id in ()",
    ),
    Mutant(
        "count a page's duplicates",
        "counting/ledger",
        "packed = self.settled.get(fingerprint, before)",
        "packed = before",
        found_by="counting/test_found",
    ),
    Mutant(
        "not remember what the first poll missed as history",
        "counting/ledger",
        "if run.final and run.completed is not None and run.completed < self.began:",
        "if run.final and run.completed is None:",
    ),
    Mutant(
        "let a wrong start carry the watermark ahead",
        "counting/ledger",
        "self.watermark = started if started < now else max(self.watermark or 0.0, now)",
        "self.watermark = started + 86400",
    ),
    Mutant(
        "take every reading for one that comes before anything is counted",
        "counting/ledger",
        "self._counting = ledger.counting",
        "self._counting = False",
    ),
    Mutant(
        "take a page for history in which a run has ended that was seen open",
        "counting/ledger",
        "if not self.open.keys().isdisjoint(page.ids):",
        "if False:",
        found_by="counting/test_history",
    ),
    Mutant(
        "take a page for history that comes when runs are counted",
        "counting/ledger",
        "if self._counting or not page or not self._add_history(page):",
        "if not page or not self._add_history(page):",
        found_by="counting/test_history",
    ),
    Mutant(
        "let the host's clock decide what is news",
        "counting/ledger",
        "news = was_open or ledger.is_news(told)",
        "news = was_open or ledger.is_news(run)",
    ),
    Mutant(
        "let the host's clock date what is known",
        "counting/ledger",
        "effective_time = told.effective_time\n        if effective_time is None:\n"
        "            effective_time = max(self.now, started_of(packed))\n",
        "effective_time = self.now\n",
    ),
    Mutant(
        "count the start of a run that was denied once more",
        "counting/ledger",
        "before is not None or any(run.run_id in runs for runs in (ledger.open, self.open, ledger.gone))",
        "any(run.run_id in runs for runs in (ledger.open, self.open))",
    ),
    Mutant(
        "put what lies on a bound into the next bucket",
        "counting/counters",
        "place = bisect_left(bounds, exemplar.value)",
        "place = min(sum(bound <= exemplar.value for bound in bounds), len(bounds))",
        found_by="counting/test_counters",
    ),
    Mutant(
        "let a series move at once",
        "exposition/initial_values",
        "return self.scrapes <= 0 or tick >= self.until",
        "return True",
        found_by="exposition/test_initial_values",
    ),
    Mutant(
        "take a scrape of an older publication for one of this",
        "exposition/initial_values",
        "if hold is not None and hold.scrapes > 0 and hold.publication <= publication:",
        "if hold is not None and hold.scrapes > 0:",
        found_by="exposition/test_initial_values",
    ),
    Mutant(
        "serve the true value first after a restart",
        "exposition/initial_values",
        "self.served: dict[Series, Total] = dict(recorded)",
        "self.served: dict[Series, Total] = {}",
        found_by="exposition/test_served_record",
    ),
    Mutant(
        "begin at nothing when a transform returns",
        "exposition/initial_values",
        "self.served, self.recorded = dict(kept), dict(kept)",
        "self.served, self.recorded = {}, {}",
        found_by="exposition/test_initial_values",
    ),
    Mutant(
        "take over what was seen before the last scrape of the former initial_values",
        "exposition/initial_values",
        "successor._predecessor, successor._keeps_histograms = self, histograms",
        "successor._predecessor, successor._keeps_histograms = self, histograms\n        successor._take_over()",
        found_by="counting/test_found",
    ),
    Mutant(
        "serve before the value is recorded",
        "exposition/publisher",
        "if not publication.recorded or variant not in publication.bodies:",
        "if variant not in publication.bodies:",
        found_by="exposition/test_served_record",
    ),
    Mutant(
        "store what was forgotten",
        "state/store",
        'cursor.executemany("DELETE FROM finished_run WHERE transform = ? AND fingerprint = ?", batch)',
        "pass",
        found_by="counting/test_properties",
    ),
    Mutant(
        "count the lookback of what left from its last run",
        "state/store",
        "for name in self._kept | kept",
        "for name in kept",
        found_by="counting/test_found",
    ),
    Mutant(
        "leave a failed poll out of the file for good",
        "state/store",
        "        self._incomplete.add(transform_id)\n",
        "",
        found_by="exposition/test_served_record",
    ),
    Mutant(
        "take a scrape without counters for one that has seen their base",
        "exposition/shown_transforms",
        "if not shown.snapshot.has_baseline:",
        "if None is shown:",
        found_by="counting/test_found_later",
    ),
    Mutant(
        "forget that an old open run was denied",
        "counting/ledger",
        "was_open = before is not None or run.run_id in ledger.open or run.run_id in ledger.gone",
        "was_open = before is not None or run.run_id in ledger.open",
        found_by="counting/test_found_later",
    ),
    Mutant(
        "show a new name before it is stored",
        "polling/poller",
        "            self._store(watch, NO_CHANGES, now)\n",
        "",
        found_by="counting/test_found_later",
    ),
)


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake.replace(" ", "-"))
def test_the_tests_find(mutant: Mutant, tmp_path: Path) -> None:
    """A counting core with this mistake in it fails the tests."""
    for folder in ("exporter", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "config.example.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    module = tmp_path / "exporter" / f"{mutant.module}.py"
    source = module.read_text(encoding="utf-8")
    assert source.count(mutant.right) == 1, "the mistake no longer fits the code; make it anew"
    module.write_text(source.replace(mutant.right, mutant.wrong), encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            f"tests/{mutant.found_by}.py",
            "-m",
            "not slow",
        ],
        cwd=tmp_path,
        env={**os.environ, "HYPOTHESIS_PROFILE": "mutants", "CI": ""},
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
