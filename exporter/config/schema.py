"""The keys of the configuration file: the type of each value, a model for each section, and rules between the values.

The models read texts; `sections` explains the reason. All durations are in seconds.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator

from exporter.config import parsing
from exporter.config.document import Contradiction
from exporter.config.durations import DAY, HOUR, MINUTE, format_duration, parse_duration
from exporter.config.problems import Loc, dotted, shown
from exporter.config.sections import Boolean, Duration, PositiveCount, PositiveDuration, Section, read_by
from exporter.model.redaction import MASK
from exporter.model.task_run import STATUSES

RESERVED_LABELS = frozenset(
    {
        "transform_id",
        "transform_name",
        "aws_account",
        "aws_account_id",
        "aws_region",
        "transform_type",
        "glue_version",
        "worker_type",
    }
)
"""Labels of `glue_ml_transform_info` that the exporter sets itself."""

BUCKETS = tuple(map(parse_duration, ["30s", "1m", "2m", "5m", "10m", "15m", "30m", "1h", "2h", "4h", "8h", "24h"]))

NEVER_DROPPED = "glue_ml_transform_info"
"""`metrics.drop` does not accept this metric, because alerts and dashboards join every other metric with it."""

DROPPABLE_METRICS = (
    "glue_ml_task_runs",
    "glue_ml_task_runs_started_total",
    "glue_ml_task_runs_finished_total",
    "glue_ml_task_run_execution_seconds",
    "glue_ml_task_run_duration_seconds",
    "glue_ml_task_run_last_start_timestamp_seconds",
    "glue_ml_task_run_last_success_timestamp_seconds",
    "glue_ml_task_run_last_failure_timestamp_seconds",
    "glue_ml_task_run_last_failure_info",
    "glue_ml_task_run_latest_status",
    "glue_ml_task_run_latest_execution_seconds",
    "glue_ml_task_run_oldest_active_start_timestamp_seconds",
    "glue_ml_transform_expected_interval_seconds",
    "glue_ml_transform_expected_duration_seconds",
    "glue_ml_transform_status",
    "glue_ml_transform_training_labels",
    "glue_ml_transform_precision_ratio",
    "glue_ml_transform_recall_ratio",
    "glue_ml_transform_f1_ratio",
    "glue_ml_transform_area_under_pr_curve_ratio",
    "glue_ml_transform_capacity_dpus",
    "glue_ml_transform_watched_since_timestamp_seconds",
    "glue_ml_transform_up",
    "glue_ml_transform_last_poll_timestamp_seconds",
    "glue_ml_transform_last_successful_poll_timestamp_seconds",
    "glue_ml_transform_poll_duration_seconds",
    "glue_ml_transform_last_poll_error_info",
)
"""The names that `metrics.drop` accepts. A test compares them with `exposition.metrics.METRICS`."""


_EXAMPLE_ID = f"tfm-{'0123456789abcdef' * 2}01234567"


def label_name(tag_key: str) -> str:
    """Return the Prometheus label for the tag `tag_key`, for example `cost_center` for `cost-center`."""
    return re.sub(r"[^A-Za-z0-9_]", "_", tag_key)


def _rate(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,4})?", text) or float(text) == 0:
        raise ValueError("is not a number above 0; expected e.g. 5 or 0.5")
    return float(text)


def _words(*, at_most: int, at_least: int = 1) -> BeforeValidator:
    def parse(text: str) -> str:
        if not at_least <= len(text) <= at_most:
            raise ValueError(f"has {len(text)} characters; expected {at_least} to {at_most}")
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
            raise ValueError("contains a control character")
        return text

    return read_by(parse)


def _matching(pattern: str, predicate: str) -> BeforeValidator:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(predicate)
        return text

    return read_by(parse)


def _external_id(text: str) -> str:
    if text == MASK:
        raise ValueError("replaces a secret in output; expected the external id itself")
    if not re.fullmatch(r"[A-Za-z0-9_+=,.@:/-]{2,1224}", text):
        raise ValueError("is not an external id; expected 2 to 1224 letters, digits or _+=,.@:/-")
    return text


def _label(text: str) -> str:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("is not a label name; expected letters, digits and _, no digit first")
    if text.startswith("__"):
        raise ValueError("is not a label name for users, because Prometheus reserves names that begin with __")
    if text in RESERVED_LABELS:
        raise ValueError("is a label that the exporter sets; expected another name")
    return text


def _label_tag(text: str) -> str:
    _label(label_name(text))
    if len(text) > 128:
        raise ValueError(f"has {len(text)} characters; expected 1 to 128")
    return text


def _dropped_metric(text: str) -> str:
    if text == NEVER_DROPPED:
        raise ValueError("cannot be left out: alerts and dashboards join all other metrics with it")
    if text not in DROPPABLE_METRICS:
        near = get_close_matches(text, DROPPABLE_METRICS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected e.g. {DROPPABLE_METRICS[0]}"
        raise ValueError(f"is not a metric that can be left out; {hint}")
    return text


def _dropped_status(text: str) -> str:
    if text not in STATUSES:
        raise ValueError(f"is not a status of a run; expected one of {', '.join(STATUSES)}")
    return text


def _transform_id(text: str) -> str:
    if text.startswith("arn:"):
        own_id = text.rpartition("/")[2]
        expected = own_id if own_id.startswith("tfm-") else f"e.g. {_EXAMPLE_ID}"
        raise ValueError(f"is an ARN; expected the id alone, {expected}")
    if re.search(r"\s", text):
        raise ValueError(f"has a blank; expected an id without blanks, e.g. {_EXAMPLE_ID}")
    if not text.startswith("tfm-"):
        raise ValueError(f"is not the id of a transform; expected e.g. {_EXAMPLE_ID}, and a name in the key name")
    return text


def _file_path(text: str) -> str:
    if text.startswith("~"):
        raise ValueError("begins with ~, which is not replaced; expected the whole path")
    with suppress(OSError):  # this user may not look into the folder above, or the name is too long
        if Path(text).is_dir():
            raise ValueError("is a folder; expected a file in it, e.g. state.sqlite")
    return text


def _reason_pattern(text: str) -> str:
    if "\\" in text or ".*" in text:
        raise ValueError(
            "looks like a regular expression; expected text of the error, with * for any characters between"
        )
    if not text.replace("*", "").strip():
        raise ValueError("matches every text; expected text of the error, e.g. ORA-12170 or table*is locked")
    return text


Interval = Annotated[float, read_by(parsing.Duration(at_least=0.05))]
PageSize = Annotated[int, read_by(parsing.Integer(1, 1000))]
Rate = Annotated[float, read_by(_rate)]
Name = Annotated[str, _words(at_most=255)]
TransformId = Annotated[str, read_by(_transform_id), _words(at_most=255)]
FilePath = Annotated[str, read_by(_file_path), _words(at_most=4096)]
TagKey = Annotated[str, _words(at_most=128)]
TagValue = Annotated[str, _words(at_least=0, at_most=256)]
LabelValue = Annotated[str, _words(at_most=1024)]
LabelName = Annotated[str, read_by(_label)]
LabelTag = Annotated[str, read_by(_label_tag)]
DroppedMetric = Annotated[str, read_by(_dropped_metric)]
DroppedStatus = Annotated[str, read_by(_dropped_status)]
ReasonName = Annotated[
    str,
    _matching(
        "[a-z][a-z0-9_]{0,62}", "is not a reason; expected small letters, digits and _, a letter first, 63 at most"
    ),
]
ReasonPattern = Annotated[str, read_by(_reason_pattern), _words(at_most=200)]
Url = Annotated[str, read_by(parsing.parse_url)]
ExternalId = Annotated[str, read_by(_external_id)]
Region = Annotated[str, read_by(parsing.parse_region)]
RoleArn = Annotated[
    str,
    _matching(
        r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,576}",
        "is not the ARN of a role; expected e.g. arn:aws:iam::123456789012:role/glue-ml-exporter",
    ),
]


class Account(Section):
    """One item of `accounts`."""

    name: Name
    role_arn: RoleArn | None = None
    external_id: ExternalId | None = Field(default=None, repr=False)
    profile: Name | None = None
    endpoint_url: Url | None = None


class TransformEntry(Section):
    """One item of `transforms`. An item that is a plain string is the id of a transform."""

    id: TransformId
    name: Name | None = None
    region: Region | None = None
    account: Name | None = None
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    expected_interval: PositiveDuration | None = None
    expected_duration: PositiveDuration | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_id(cls, data: object) -> object:
        return {"id": data} if isinstance(data, str) else data

    @field_validator("labels", mode="before")
    @classmethod
    def _without_empty_labels(cls, data: object) -> object:
        return (
            {key: value for key, value in data.items() if value not in (None, "")} if isinstance(data, dict) else data
        )


class DiscoveryEntry(Section):
    """One item of `discovery`."""

    account: Name | None = None
    regions: tuple[Region, ...] = ()
    tags: dict[TagKey, TagValue] = Field(default_factory=dict)
    name: Name | None = None
    interval: Interval = 10 * MINUTE
    labels_from_tags: tuple[LabelTag, ...] = ()
    expected_interval_tag: TagKey | None = None
    expected_duration_tag: TagKey | None = None


class Polling(Section):
    """The section `polling`."""

    interval: Interval = MINUTE
    idle_interval: Interval | None = None
    lookback: PositiveDuration = 30 * DAY
    overlap: Duration = 15 * MINUTE
    resync_interval: PositiveDuration = 6 * HOUR
    concurrency: PositiveCount = 8
    page_size: PageSize = 1000
    request_timeout: PositiveDuration = MINUTE / 2
    max_attempts: PositiveCount = 5
    requests_per_second: Rate = 5.0
    stale_after: PositiveDuration = 15 * MINUTE


class FailureReason(Section):
    """One item of `metrics.failure_reasons`."""

    name: ReasonName
    pattern: ReasonPattern


class Metrics(Section):
    """The section `metrics`."""

    replaced_keys = dict.fromkeys(
        ("birth_scrapes", "birth_timeout"),
        "was replaced by initial_hold; expected the longest scrape interval of all servers or more, e.g. 2m",
    )

    execution_buckets: tuple[PositiveDuration, ...] = BUCKETS
    initial_hold: Duration = 2 * MINUTE
    failure_reasons: Annotated[tuple[FailureReason, ...], Field(max_length=100)] = ()
    created_timestamps: Boolean = False
    drop: tuple[DroppedMetric, ...] = ()
    drop_statuses: tuple[DroppedStatus, ...] = ()
    max_series: PositiveCount | None = None


class Web(Section):
    """The section `web`."""

    status_page: Boolean = True


class State(Section):
    """The section `state`."""

    path: FilePath | None = None


class File(Section):
    """The whole file."""

    region: Region | None = None
    endpoint_url: Url | None = None
    accounts: tuple[Account, ...] = ()
    transforms: tuple[TransformEntry, ...] = ()
    discovery: tuple[DiscoveryEntry, ...] = ()
    polling: Polling = Polling()
    transform_details: Boolean = True
    metrics: Metrics = Metrics()
    web: Web = Web()
    state: State = State()


def accounts_of(file: File) -> tuple[Account, ...]:
    """Return the accounts of the file. Without accounts, return `default` with the credentials of the environment."""
    return file.accounts or (Account(name="default"),)


def account_of(file: File, entry: TransformEntry | DiscoveryEntry) -> str | None:
    """Return the account of `entry`, else the only account of the file, else None."""
    accounts = accounts_of(file)
    return entry.account or (accounts[0].name if len(accounts) == 1 else None)


def contradictions(file: File) -> Iterator[Contradiction]:
    """Yield the values that contradict each other, because a model checks each value alone."""
    yield from _account_rules(file)
    yield from _target_rules(file)
    yield from _discovery_rules(file)
    yield from _polling_rules(file.polling)
    yield from _bucket_rules(file.metrics.execution_buckets)


def _account_rules(file: File) -> Iterator[Contradiction]:
    yield from _repeated((("accounts", i, "name"), account.name) for i, account in enumerate(file.accounts))
    for i, account in enumerate(file.accounts):
        if account.external_id and not account.role_arn:
            yield ("accounts", i, "external_id"), "needs role_arn", ()
        if account.profile and account.role_arn:
            yield ("accounts", i, "profile"), "excludes role_arn; expected one of them", ()


def _target_rules(file: File) -> Iterator[Contradiction]:
    if not file.transforms and not file.discovery:
        yield (), "there is nothing to watch; expected transforms or discovery", (("transforms",), ("discovery",))
    yield from _repeated((("transforms", i, "id"), transform.id) for i, transform in enumerate(file.transforms))
    accounts = [account.name for account in accounts_of(file)]
    expected = f"expected one of {', '.join(map(shown, accounts))}"
    named: tuple[Loc, ...] = tuple(("accounts", i, "name") for i in range(len(accounts)))
    sections: dict[str, tuple[TransformEntry | DiscoveryEntry, ...]]
    sections = {"transforms": file.transforms, "discovery": file.discovery}
    for section, entries in sections.items():
        for i, entry in enumerate(entries):
            account = account_of(file, entry)
            if account is None:
                yield (section, i), f"has no account; {expected}", (*named, (section, i, "account"))
            elif account not in accounts:
                yield (section, i, "account"), f"{shown(account)} is not an account; {expected}", named
    yield from _region_rule(file)


def _region_rule(file: File) -> Iterator[Contradiction]:
    without = [("transforms", i, "region") for i, transform in enumerate(file.transforms) if not transform.region]
    without += [("discovery", i, "regions") for i, discovery in enumerate(file.discovery) if not discovery.regions]
    if without and not file.region:
        first = dotted(without[0])
        yield ("region",), f"is required, because {first} is not given; or set AWS_REGION", (without[0],)


def _discovery_rules(file: File) -> Iterator[Contradiction]:
    for i, discovery in enumerate(file.discovery):
        yield from _repeated((("discovery", i, "regions", j), region) for j, region in enumerate(discovery.regions))
        keys = ((("discovery", i, "labels_from_tags", j), key) for j, key in enumerate(discovery.labels_from_tags))
        yield from _repeated(keys, by=label_name, says="makes the same label as")


def _polling_rules(polling: Polling) -> Iterator[Contradiction]:
    if polling.overlap >= polling.lookback:
        message = f"{format_duration(polling.overlap)} is not shorter than lookback"
        message += f" ({format_duration(polling.lookback)})"
        yield ("polling", "overlap"), message, (("polling", "lookback"),)
    if polling.idle_interval is not None and polling.idle_interval < polling.interval:
        message = f"{format_duration(polling.idle_interval)} is shorter than interval"
        message += f" ({format_duration(polling.interval)})"
        yield ("polling", "idle_interval"), message, (("polling", "interval"),)
    longest = "interval" if polling.idle_interval is None else "idle_interval"
    interval = polling.interval if polling.idle_interval is None else polling.idle_interval
    if polling.stale_after <= interval:
        message = f"{format_duration(polling.stale_after)} is not longer than {longest}"
        message += f" ({format_duration(interval)})"
        yield ("polling", "stale_after"), message, (("polling", longest),)


def _bucket_rules(buckets: tuple[float, ...]) -> Iterator[Contradiction]:
    place = ("metrics", "execution_buckets")
    if not buckets:
        yield place, "the list is empty; expected at least one duration", ()
    for i, (lower, upper) in enumerate(pairwise(buckets), start=1):
        if upper <= lower:
            message = f"{format_duration(upper)} is not longer than the bucket before it ({format_duration(lower)})"
            yield (*place, i), message, ()


def _repeated(
    values: Iterable[tuple[Loc, str]], by: Callable[[str], str] = str, says: str = "is already given at"
) -> Iterator[Contradiction]:
    """Yield each value that is equal to an earlier one. ``by`` returns what is compared, ``says`` is the message."""
    first: dict[str, Loc] = {}
    for place, value in values:
        compared = by(value)
        if compared in first:
            yield place, f"{shown(value)} {says} {dotted(first[compared])}", ()
        first.setdefault(compared, place)
