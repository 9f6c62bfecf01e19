"""Merges the transforms that the configuration names with the transforms that discovery has found."""

from collections.abc import Iterable
from dataclasses import replace

from exporter.config.settings import Config
from exporter.model.transform import Lane, Target


def configured_targets(config: Config) -> tuple[Target, ...]:
    """Return the transforms that the configuration names, in its order."""
    return tuple(
        Target(
            transform.id,
            Lane(transform.account, transform.region),
            transform.name,
            dict(transform.labels),
            transform.expected_interval,
            transform.expected_duration,
        )
        for transform in config.transforms
    )


def merge_targets(configured: Iterable[Target], discovered: Iterable[Target]) -> tuple[Target, ...]:
    """Return all targets, one per transform id.

    If several targets have the same id, the first target is returned, with the labels and the expectations that only
    later targets have. So the configuration has priority over discovery.
    """
    merged: dict[str, Target] = {}
    for target in (*configured, *discovered):
        first = merged.setdefault(target.id, target)
        if first is not target:
            merged[target.id] = replace(
                first,
                labels={**target.labels, **first.labels},
                expected_interval=first.expected_interval or target.expected_interval,
                expected_duration=first.expected_duration or target.expected_duration,
            )
    return tuple(merged.values())
