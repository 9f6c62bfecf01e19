"""Merges the transforms that the configuration names with the transforms that discovery has found."""

from collections.abc import Iterable
from dataclasses import replace

from exporter.config.settings import Config
from exporter.model.transform import Lane, Target


def configured_targets(config: Config) -> tuple[Target, ...]:
    """Return the transforms that the configuration names, in its order."""
    return tuple(
        Target(transform.id, Lane(transform.account, transform.region), transform.name, dict(transform.labels))
        for transform in config.transforms
    )


def merge_targets(configured: Iterable[Target], discovered: Iterable[Target]) -> tuple[Target, ...]:
    """Return all targets, one per transform id.

    If several targets have the same id, the first target is returned, with the labels that only later targets have. So
    the configuration has priority over discovery.
    """
    merged: dict[str, Target] = {}
    for target in (*configured, *discovered):
        first = merged.setdefault(target.id, target)
        if first.labels != target.labels:
            merged[target.id] = replace(first, labels={**target.labels, **first.labels})
    return tuple(merged.values())
