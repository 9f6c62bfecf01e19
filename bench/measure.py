"""Measurements on a machine that runs other programs too. `in_turns` runs the compared functions alternately."""

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
    """Call each contestant once per round, for `repetitions` rounds. Return the median result of each by name."""
    results: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, contestant in contestants.items():
            results[name].append(contestant())
    return {name: median(figures) for name, figures in results.items()}


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of all threads of this process while `work` runs."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def wall_seconds(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes by the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    """Return the percentile of the values for a `share` between 0 and 1, with the method of the nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of `function` in a new interpreter, so that its memory is measured alone.

    The function must be defined at the top of a module, since it is pickled.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(function, *args, **kwargs).result()


def resident_bytes() -> int:
    """Return the resident memory of this process after a garbage collection, in bytes."""
    gc.collect()
    return _status_bytes("self", "VmRSS")


def peak_bytes(pid: int | str = "self") -> int:
    """Return the largest resident memory of a process since its start or since `forget_peak`, in bytes."""
    return _status_bytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Reset the peak that `peak_bytes` returns (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_bytes(pid: int | str, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
