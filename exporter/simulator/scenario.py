"""The schema of a scenario file, which describes a simulated Glue, and its loader.

Durations of tasks and gaps between runs are *scenario time*. After the simulator's start, `acceleration` seconds of
scenario time pass in one second. The times of explicit runs, faults and credentials are calendar time.
`scenarios/demo.yaml` is a complete example.
"""

from collections.abc import Hashable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from exporter.simulator.quantities import (
    Constant,
    Distribution,
    Duration,
    Offset,
    PositiveDuration,
    Probability,
    Strict,
)
from exporter.simulator.service_model import FINAL_STATUSES, OPERATIONS, STATUSES, allowed_values

BUILT_IN = "demo"

TaskType = Literal["EVALUATION", "LABELING_SET_GENERATION", "IMPORT_LABELS", "EXPORT_LABELS", "FIND_MATCHES"]
FinalStatus = Literal["STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT"]
AccountId = Annotated[str, Field(pattern=r"^\d{12}$")]
Text = Annotated[str, Field(min_length=1, max_length=255)]
Ratio = Annotated[float, Field(ge=0, le=1)]

_STS_OPERATIONS = ("AssumeRole", "GetCallerIdentity")
_MINUTE = Constant(distribution="constant", value=60.0)
_TEN_MINUTES = Constant(distribution="constant", value=600.0)


class ScenarioError(ValueError):
    """A scenario cannot be used. The message has one line for each problem, with its place in the file."""


class Task(Strict):
    """The runs of one task type: the times of their starts, their durations and their final statuses.

    `every` is the mean gap between runs (None: runs start only on request). `arrivals` says whether the gaps are random
    or equal. `history_runs` is the number of runs before the start (None: as many as `every` gives). A run is STARTING
    for `waiting` and RUNNING for `duration`. A run that ends as STOPPED is STOPPING for `stopping`. `outcomes` has the
    probability of each final status other than SUCCEEDED. `hang` is the probability that a run never ends. The failed
    runs use the texts of `errors` in turn.
    """

    every: PositiveDuration | None = None
    arrivals: Literal["poisson", "regular"] = "poisson"
    history_runs: Annotated[int, Field(ge=0)] | None = None
    waiting: Distribution = _MINUTE
    duration: Distribution = _TEN_MINUTES
    stopping: Distribution = _MINUTE
    outcomes: dict[Literal["STOPPED", "FAILED", "TIMEOUT"], Probability] = Field(default_factory=dict)
    hang: Probability = 0.0
    errors: tuple[str, ...] = ("Internal service error while running the task.",)

    @model_validator(mode="after")
    def _consistent(self) -> "Task":
        if sum(self.outcomes.values()) > 1:
            raise ValueError("the probabilities of outcomes must not add up to more than 1")
        if not self.errors:
            raise ValueError("errors must hold at least one message")
        return self


class ExplicitRun(Strict):
    """One run with exact times.

    `status` is the status at the end. If `completed` is in the future, the run is RUNNING until that time. The run is
    listed from `appears` on (default: `started`). `fields` are members of the run in Glue's answer, which replace the
    generated members. A null removes the member.
    """

    type: Text
    status: Text = "RUNNING"
    started: Offset
    completed: Offset | None = None
    appears: Offset | None = None
    id: Text | None = None
    fields: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "ExplicitRun":
        final = self.status in FINAL_STATUSES
        if self.status in STATUSES and final != (self.completed is not None):
            raise ValueError("completed needs a final status, and a final status needs completed")
        return self


class Quality(Strict):
    """The evaluation metrics of a trained transform."""

    precision: Ratio | None = None
    recall: Ratio | None = None
    f1: Ratio | None = None
    area_under_pr_curve: Ratio | None = None
    true_positives: int | None = None
    false_positives: int | None = None
    true_negatives: int | None = None
    false_negatives: int | None = None
    column_importances: dict[Text, Ratio] = Field(default_factory=dict)


class Table(Strict):
    """An input table of a transform."""

    database: Text
    table: Text


class Transform(Strict):
    """One transform, or `count` equal transforms with a number at the end of each name.

    A transform without `region` answers in every region. A transform without `account` belongs to the default account.
    If `id` is missing, it is derived from seed, name and number. The tasks began `history` before the start.
    """

    name: Text
    id: Text | None = None
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    region: Text | None = None
    account: AccountId | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    description: Annotated[str, Field(max_length=2048)] | None = None
    status: Literal["NOT_READY", "READY", "DELETING"] = "READY"
    created: Offset = -90 * 86400.0
    history: Duration = 0.0
    glue_version: str | None = "2.0"
    worker_type: str | None = None
    number_of_workers: Annotated[int, Field(ge=1)] | None = None
    max_capacity: Annotated[float, Field(gt=0)] | None = 10.0
    timeout_minutes: Annotated[int, Field(ge=1)] | None = 2880
    max_retries: Annotated[int, Field(ge=0)] | None = 0
    role: str = "arn:aws:iam::123456789012:role/glue-ml"
    labels: Annotated[int, Field(ge=0)] | None = None
    quality: Quality | None = None
    tables: tuple[Table, ...] = ()
    columns: dict[Text, str] = Field(default_factory=dict)
    primary_key: Text = "id"
    precision_recall_tradeoff: Ratio = 0.5
    accuracy_cost_tradeoff: Ratio = 0.5
    enforce_provided_labels: bool = False
    log_group: Text = "/aws-glue/mlTransforms"
    security_configuration: Text | None = None
    tasks: dict[TaskType, Task] = Field(default_factory=dict)
    runs: tuple[ExplicitRun, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Transform":
        if self.id and self.count > 1:
            raise ValueError("id cannot be used together with a count above 1")
        run_ids = [run.id for run in self.runs if run.id]
        if len(run_ids) != len(set(run_ids)):
            raise ValueError("two runs have the same id")
        if self.worker_type and self.worker_type not in allowed_values("WorkerType"):
            raise ValueError(f"worker_type must be one of {', '.join(allowed_values('WorkerType'))}")
        return self


class Fault(Strict):
    """A fault to inject into answers.

    The fault fires with `probability`, at most `times` times, from `after` to `until`. Both are counted from the moment
    when the fault was set. The faults of a scenario are set at the start. `operations`, `transforms`, `regions` and
    `accounts` select requests. An empty list selects all requests.

    Kinds: `throttle`, `server_error` (`status` 500 or 503), `delay` (`seconds`), `hang` (accepted, never answered),
    `reset` (TCP RST instead of an answer), `garbage` (HTTP 200 with `body`: truncated, html, empty_object,
    wrong_types, empty), `expired_credentials`, `access_denied`, `not_found`, `timeout` (OperationTimeoutException),
    `error` (any `code` and `status`), `repeat_token` (the answer has the request's own NextToken).
    """

    kind: Literal[
        "throttle",
        "server_error",
        "delay",
        "hang",
        "reset",
        "garbage",
        "expired_credentials",
        "access_denied",
        "not_found",
        "timeout",
        "error",
        "repeat_token",
    ]
    probability: Probability = 1.0
    times: Annotated[int, Field(ge=1)] | None = None
    after: Duration = 0.0
    until: Duration | None = None
    operations: tuple[str, ...] = ()
    transforms: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    seconds: Duration = 1.0
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    code: Text | None = None
    message: str | None = None
    body: Literal["truncated", "html", "empty_object", "wrong_types", "empty"] = "truncated"

    @model_validator(mode="after")
    def _consistent(self) -> "Fault":
        known = (*OPERATIONS, *_STS_OPERATIONS)
        for operation in self.operations:
            if operation not in known:
                raise ValueError(f"unknown operation {operation!r}; expected one of {', '.join(known)}")
        if (self.kind == "error") != (self.code is not None):
            raise ValueError("kind: error needs code, and other kinds do not allow it")
        return self


class Role(Strict):
    """A role, and the `ExternalId` that AssumeRole must send for the role (None: `ExternalId` is not checked)."""

    arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")]
    external_id: Text | None = None


class Credentials(Strict):
    """The accounts of access keys.

    `keys` maps access key ids to accounts. With `only_known`, only these keys and the keys issued by STS are accepted.
    `lifetime` replaces the DurationSeconds of AssumeRole requests.
    """

    lifetime: PositiveDuration | None = None
    keys: dict[Text, AccountId] = Field(default_factory=dict)
    only_known: bool = False


class Scenario(Strict):
    """A whole scenario. The same seed gives the same runs."""

    seed: int = 1
    acceleration: Annotated[float, Field(gt=0)] = 1.0
    default_account: AccountId = "123456789012"
    transforms: tuple[Transform, ...] = ()
    faults: tuple[Fault, ...] = ()
    roles: tuple[Role, ...] = ()
    credentials: Credentials = Credentials()


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe YAML loader that refuses a repeated key. PyYAML's own loader keeps the last value without an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build one mapping; overrides the method of the base class."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):  # the method of the base class refuses other keys
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key!r} occurs twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def build_scenario(data: object, *, source: str = "scenario") -> Scenario:
    """Validate the plain data that a YAML parser returns, and convert it to a `Scenario`.

    Raises:
        ScenarioError: with one line `source: place: problem` for each problem.
    """
    try:
        return Scenario.model_validate({} if data is None else data)
    except ValidationError as error:
        raise ScenarioError("\n".join(_problems(error, source))) from None


def load_scenario(source: str | Path | Mapping[str, Any] | Scenario = BUILT_IN) -> Scenario:
    """Load a scenario from the name of a built-in one, the path of a YAML file, or plain data.

    A `Scenario` is returned unchanged.

    Raises:
        ScenarioError: the file cannot be read, or is not YAML, or the scenario is not valid.
    """
    if isinstance(source, Scenario):
        return source
    if isinstance(source, Mapping):
        return build_scenario(source)
    if source in built_in_scenarios():
        path = files("exporter.simulator") / "scenarios" / f"{source}.yaml"
        return read_scenario(path.read_text(encoding="utf-8"), source=f"built-in {source}")
    try:
        text = Path(source).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        names = ", ".join(built_in_scenarios())
        raise ScenarioError(f"{source}: does not exist; expected a file or a built-in scenario ({names})") from error
    except OSError as error:
        raise ScenarioError(f"{source}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{source}: is not UTF-8 at byte {error.start}") from error
    return read_scenario(text, source=str(source))


def read_scenario(text: str, *, source: str = "scenario") -> Scenario:
    """Parse a scenario from YAML text; `source` names it in errors.

    Raises:
        ScenarioError: the text is not YAML, or the scenario is not valid.
    """
    try:
        data = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506  # the loader is a subclass of SafeLoader
    except RecursionError as error:
        raise ScenarioError(f"{source}: not valid YAML: nested too deeply") from error
    # PyYAML raises ValueError for a date that does not exist, and OverflowError for an escape that is no character.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ScenarioError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    return build_scenario(data, source=source)


def built_in_scenarios() -> tuple[str, ...]:
    """Return the names of the scenarios that ship with the simulator."""
    folder = files("exporter.simulator") / "scenarios"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name[: -len(".yaml")] for name in names if name.endswith(".yaml")))


def _problems(error: ValidationError, source: str) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key"
        if problem["type"] == "string_type" and isinstance(problem["input"], int):
            message += "; put it in quotes"
        lines.append(f"{source}: {place}: {message}")
    return lines
