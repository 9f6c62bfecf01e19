"""One transform of the simulated Glue: its data in the scenario, and all later changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.simulator.rendering import render_transform
from exporter.simulator.run_table import RunTable
from exporter.simulator.scenario import Transform


@dataclass(slots=True)
class SimulatedTransform:
    """A transform as it is now.

    A transform whose `region` is None answers in every region. `fields` replace members of its rendered answer.
    `modified` is the time of its last change in epoch seconds (None: never changed). `table` is None until a request
    reads the runs. This saves time and memory for transforms whose runs are never read.
    """

    id: str
    name: str
    spec: Transform
    account: str
    region: str | None
    tags: Mapping[str, str]
    fields: dict[str, Any] = field(default_factory=dict)
    modified: float | None = None
    table: RunTable | None = None

    def is_visible(self, account: str | None, region: str | None) -> bool:
        """Return whether callers of an account and region can see the transform; None means any account or region."""
        region_matches = region is None or self.region is None or self.region == region
        return region_matches and (account is None or self.account == account)

    def render(self, start: float) -> dict[str, Any]:
        """Return the answer of GetMLTransform; `start` is the simulator's start in epoch seconds."""
        record = render_transform(self.spec, self.id, self.name, start, self.fields)
        if self.modified is not None:
            record["LastModifiedOn"] = round(self.modified, 3)
        return record
