"""All that the metrics show of one transform at one moment: what a poll hands to the exposition."""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.counting.latest import GaugeValues, LatestRun
from exporter.exposition.initial_values import InitialValues
from exporter.exposition.text_format import Identity
from exporter.model.transform import Details, Target


@dataclass(frozen=True, slots=True)
class PollResult:
    """How the polls of a transform go; UTC seconds."""

    up: bool
    tried: float
    succeeded: float | None
    duration: float
    error: str = ""
    """Why it is not up, for people: the reason, and what AWS said."""


def shown_name(target: Target, details: Details | None) -> str:
    """Return the configured name, else the one that Glue knows, else the id."""
    return target.name or (details.name if details else "") or target.id


@dataclass(frozen=True, slots=True)
class TransformSnapshot:
    """All that is shown of one transform, at one moment."""

    target: Target
    account_id: str
    poll: PollResult | None
    """None before the first poll; what an earlier process left is shown already then."""
    view: GaugeValues | None
    """None before the first good poll, and again when it is too long ago."""
    latest: Mapping[str, LatestRun]
    counting: bool
    """Whether there are counters: after the first good poll, of this process or an earlier one."""
    initial_values: InitialValues
    bounds: tuple[float, ...]
    created: bool
    details: Details | None

    @property
    def name(self) -> str:
        """The name by which the transform is shown."""
        return shown_name(self.target, self.details)

    @property
    def identity(self) -> Identity:
        """The labels on every series of the transform."""
        return Identity((("transform_id", self.target.id), ("transform_name", self.name)))
