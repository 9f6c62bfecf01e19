"""Which transforms are watched, and what is known about each beside its runs."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count

from exporter.config.settings import Config
from exporter.model.transform import Lane, Target


def configured_targets(config: Config) -> tuple[Target, ...]:
    """Return the transforms that the configuration names, in its order."""
    return tuple(
        Target(transform.id, Lane(transform.account, transform.region), transform.name, dict(transform.labels))
        for transform in config.transforms
    )


def merge_targets(configured: Iterable[Target], discovered: Iterable[Target]) -> tuple[Target, ...]:
    """Return all targets, one per transform id; what the configuration says of a transform wins.

    Of two that were discovered the first wins; labels that only the other has are added.
    """
    merged: dict[str, Target] = {}
    for target in (*configured, *discovered):
        first = merged.setdefault(target.id, target)
        if first.labels != target.labels:
            merged[target.id] = replace(first, labels={**target.labels, **first.labels})
    return tuple(merged.values())


class Places:
    """Gives targets their places in the polling interval, fractions in (0, 1].

    Those of a lane lie far apart, since they share a rate limit, and the lanes lie between each other, however many
    there are. Multiples of irrational numbers do that, and nobody has to move when discovery finds more.
    """

    def __init__(self, offset: float = 0.0) -> None:
        """Take by how much all places are moved: processes side by side are not to call at the same moments."""
        self._offset = offset
        self._lanes: dict[Lane, Iterator[float]] = {}

    def next(self, lane: Lane) -> float:
        """Return the place of one more target of this lane."""
        if lane not in self._lanes:
            self._lanes[lane] = count(self._offset + len(self._lanes) * _BETWEEN_LANES, _WITHIN_A_LANE)
        return 1.0 - next(self._lanes[lane]) % 1.0


_WITHIN_A_LANE = (math.sqrt(5) - 1) / 2
"""The golden section, whose multiples are spread most evenly of all."""
_BETWEEN_LANES = math.sqrt(2) - 1
