"""Runs that start and end while exporters are killed. The times of all runs are planned in advance."""

from collections import Counter

from exporter.simulator import World
from tests.system.staging import FINAL_STATUSES, TASK_TYPES, Cell, seeded_random, wait_for


class Traffic:
    """Adds runs of all types and final statuses to a simulated transform, in the past and in the next `seconds`.

    Some runs have ended, some are open, and some start later. Some of the later runs end before the next poll, and some
    are listed only after they have ended.
    """

    def __init__(self, world: World, transform_id: str, *, seed: int) -> None:
        self._world = world
        self._id = transform_id
        self._rng = seeded_random(seed)
        self._opened = 0
        self._unfinished: list[str] = []
        self.begin = world.now()
        self.end = self.begin

    def past(self, *, over: int, unfinished: int) -> None:
        """Add `over` runs that have ended and `unfinished` open runs. `future` plans when the open runs end."""
        now = self._world.now()
        for number in range(over):
            started = now - self._rng.uniform(600, 20 * 86400)
            self._add(f"over-{number}", started=started, completed=started + self._rng.uniform(1, 500))
        for number in range(unfinished):
            run_id = f"unfinished-{number}"
            started = now - self._rng.uniform(600, 20 * 86400)
            self._world.add_run(self._id, self._rng.choice(TASK_TYPES), started=started, run_id=run_id)
            self._unfinished.append(run_id)

    def future(self, *, count: int, seconds: float) -> None:
        """Add runs that start within the next `seconds`. The unfinished runs end in the second half of this time.

        `finished` counts the runs that end after this call. Unfinished runs therefore never end before this call, even
        if the exporter starts slowly.
        """
        self.begin = self._world.now()
        for run_id in self._unfinished:
            completed = self.begin + self._rng.uniform(seconds / 2, seconds)
            self._world.finish_run(self._id, run_id, self._final_status(), completed=completed)
            self.end = max(self.end, completed)
        for number in range(count):
            started = self.begin + self._rng.uniform(0.01, seconds)
            completed = started + self._rng.choice([0.0, self._rng.uniform(0, 1), self._rng.uniform(0, 3)])
            appears = started + self._rng.choice([0.0, 0.0, self._rng.uniform(0, 2)])
            self._add(f"new-{number}", started=started, completed=completed, appears=appears)
        self._opened = count

    def _add(self, run_id: str, *, started: float, completed: float, appears: float | None = None) -> None:
        task_type = self._rng.choice(TASK_TYPES)
        status = self._final_status()
        visible = started if appears is None else appears
        self.end = max(self.end, completed, visible)
        self._world.add_run(
            self._id, task_type, status=status, started=started, completed=completed, appears=visible, run_id=run_id
        )

    def _final_status(self) -> str:
        [status] = self._rng.choices(FINAL_STATUSES, weights=(1, 5, 3, 1))
        return status

    def wait_for_the_end(self) -> None:
        """Wait until the last run has ended and is listed."""
        wait_for(lambda: self._world.now() > self.end, timeout=self.end - self._world.now() + 60)

    def finished(self) -> Counter[Cell]:
        """Return the number of runs that have finished since `future` was called, by task type and status."""
        truth = self._world.expected_counts(self.begin)["transforms"][self._id]["completions"]
        return Counter((run["task_type"], run["status"]) for run in truth)

    def started(self) -> Counter[Cell]:
        """Return the number of runs that have started since `future` was called, by task type and an empty status."""
        new = [run for run in self._world.runs(self._id) if run["TaskRunId"].startswith("new-")]
        assert len(new) == self._opened
        return Counter((run["Properties"]["TaskType"], "") for run in new)
