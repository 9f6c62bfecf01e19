"""How to measure on a machine that does other things too: take turns, take medians, and count CPU time."""

import gc
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


def in_turns(repetitions: int, **contestants: Callable[[], float]) -> dict[str, float]:
    """Call the contestants one after the other, so many rounds, and return the median of what each returns."""
    results: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, contestant in contestants.items():
            results[name].append(contestant())
    return {name: median(figures) for name, figures in results.items()}


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds that `work` takes, in all threads of this process."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def wall_seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of them lie: the nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function`, a module's own, returns in an interpreter started for it: its memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(function, *args, **kwargs).result()


def resident_bytes() -> int:
    """Return the memory of this process that is in use now, after a garbage collection."""
    gc.collect()
    return _status_bytes("self", "VmRSS")


def peak_bytes(pid: int | str = "self") -> int:
    """Return the largest resident memory that a process has had, since its start or `forget_peak`."""
    return _status_bytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let `peak_bytes` begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_bytes(pid: int | str, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
