"""Decodes the JSON bodies of Glue's answers directly to runs, transforms and tags, without dicts and datetimes.

The wire format is AWS JSON 1.1: times are epoch seconds as numbers, and a member without a value is left out. The
members are those of the AWS Glue Web API Reference. Every function raises `GlueError` with reason "malformed_response"
for a body of another shape; only a page of runs may have single runs of another shape. If such a body were read as an
empty answer, runs or transforms would disappear.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import Annotated, Any, TypeVar

import msgspec

from exporter.model.errors import GlueError
from exporter.model.task_run import NO_PROPERTIES, UNKNOWN, Properties, RunPage, SkippedRun, TaskRun
from exporter.model.transform import Details

T = TypeVar("T")

MAX_TEXT = 2048
"""Longest text that is kept, in characters. A longer text is cut. Glue documents at most 2,048 bytes for a description
and an error string."""

MAX_NAME = 255
"""Longest id, name, status or task type in characters, as Glue documents for ``HashString`` and ``NameString``."""

MAX_TAG = 256
"""Longest value of a tag in characters, as Glue documents for ``TagValue``."""

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Word = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
"""A text that becomes a label value of the metrics about runs."""
_Token = Annotated[str, msgspec.Meta(max_length=16_384)]
"""A NextToken. All tokens of a listing are in memory until its end."""


class _Properties(msgspec.Struct, rename="pascal", gc=False):
    """The properties stay raw JSON, because only the status page needs them, and only for recent runs."""

    task_type: _Word | None = None
    import_labels_task_run_properties: msgspec.Raw = msgspec.Raw()
    export_labels_task_run_properties: msgspec.Raw = msgspec.Raw()
    labeling_set_generation_task_run_properties: msgspec.Raw = msgspec.Raw()
    find_matches_task_run_properties: msgspec.Raw = msgspec.Raw()


class _TypeProperties(msgspec.Struct, rename="pascal"):
    input_s3_path: str | None = msgspec.field(name="InputS3Path", default=None)
    replace: bool | None = None
    output_s3_path: str | None = msgspec.field(name="OutputS3Path", default=None)
    job_id: str | None = None
    job_name: str | None = None
    job_run_id: str | None = None


class _Run(msgspec.Struct, rename="pascal", gc=False):
    task_run_id: _Id
    status: _Word | None = None
    properties: _Properties | None = None
    started_on: float | None = None
    completed_on: float | None = None
    execution_time: float | None = None
    error_string: str | None = None
    log_group_name: str | None = None


class _Quality(msgspec.Struct, rename="pascal"):
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    area_under_pr_curve: float | None = msgspec.field(name="AreaUnderPRCurve", default=None)


class _Evaluation(msgspec.Struct, rename="pascal"):
    find_matches_metrics: _Quality | None = None


class _Parameters(msgspec.Struct, rename="pascal"):
    transform_type: str | None = None


class _Transform(msgspec.Struct, rename="pascal"):
    transform_id: str
    name: str | None = None
    status: str | None = None
    parameters: _Parameters | None = None
    glue_version: str | None = None
    worker_type: str | None = None
    max_capacity: float | None = None
    number_of_workers: int | None = None
    label_count: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    evaluation_metrics: _Evaluation | None = None


class _ListedTransform(msgspec.Struct, rename="pascal"):
    transform_id: str = ""
    name: str | None = None
    status: str | None = None


class _Transforms(msgspec.Struct, rename="pascal"):
    transforms: list[_ListedTransform]
    next_token: _Token | None = None


class _Tags(msgspec.Struct, rename="pascal"):
    tags: dict[str, str]


class _Page(msgspec.Struct, rename="pascal"):
    task_runs: list[_Run]
    next_token: _Token | None = None


class _RawPage(msgspec.Struct, rename="pascal"):
    task_runs: msgspec.Raw
    next_token: _Token | None = None


class _RunId(msgspec.Struct, rename="pascal"):
    task_run_id: str


class _Listing(msgspec.Struct, rename="pascal"):
    transform_ids: list[_Id]
    next_token: _Token | None = None


class _RecordPage(msgspec.Struct, rename="pascal"):
    task_runs: list[dict[str, Any]]
    next_token: _Token | None = None


_MAX_RUNS = 10_000
"""Largest number of runs in a page. Glue gives at most 1,000. An answer of 16 MB has room for a million small runs.
While one thread counts them, the threads of the web server wait."""

_BLANKS = re.compile(r"[ \t\n\r]*")
# Numbers stay texts, because int refuses a number of more than 4,300 digits.
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)

_PAGE = msgspec.json.Decoder(_Page)
_RAW_PAGE = msgspec.json.Decoder(_RawPage)
_RUN_ID = msgspec.json.Decoder(_RunId)
_RECORD_PAGE = msgspec.json.Decoder(_RecordPage)
_RUN = msgspec.json.Decoder(_Run)
_LISTING = msgspec.json.Decoder(_Listing)
_TRANSFORM = msgspec.json.Decoder(_Transform)
_TRANSFORMS = msgspec.json.Decoder(_Transforms)
_TAGS = msgspec.json.Decoder(_Tags)
_TYPE_PROPERTIES = msgspec.json.Decoder(_TypeProperties)

Record = dict[str, Any]
"""A run with all its members under Glue's own names; times are UTC seconds."""


def decode_page(body: bytes) -> tuple[RunPage, str | None]:
    """Return the runs and the NextToken of a GetMLTaskRuns answer; each run has at least a ``TaskRunId``.

    A run of another shape is left out, so that it does not cost the other runs of its page. A page of more than
    `_MAX_RUNS` runs is malformed.
    """
    try:
        page = _decode(_PAGE, body)
    except GlueError:
        return _decode_run_by_run(body)
    if len(page.task_runs) > _MAX_RUNS:
        raise _too_many_runs()
    return _run_page(page.task_runs), page.next_token or None


def _decode_run_by_run(body: bytes) -> tuple[RunPage, str | None]:
    """Return the runs of a page that have the documented shape; raise `GlueError` if no run has it."""
    page = _decode(_RAW_PAGE, body)
    runs: list[_Run] = []
    skipped: list[SkippedRun] = []
    last_error = None
    for raw in _elements(bytes(page.task_runs)):
        if len(runs) + len(skipped) == _MAX_RUNS:
            raise _too_many_runs()
        try:
            runs.append(_decode(_RUN, raw))
        except GlueError as error:
            skipped.append(SkippedRun(_skipped_id(raw), str(error)))
            last_error = error
    if last_error is not None and not runs:
        raise last_error
    return _run_page(runs, skipped), page.next_token or None


def _elements(raw: bytes) -> Iterator[bytes]:
    """Yield the elements of a JSON array one by one; raise `GlueError` if it is not an array.

    A list of `msgspec.Raw` would hold all elements at once, and 16 MB have room for eight million.
    """
    try:
        text = raw.decode(errors="surrogateescape")  # a run whose text is not UTF-8 costs only itself
        if not text.startswith("["):
            raise malformed("TaskRuns is not an array")
        start = _skip_blanks(text, 1)
        while text[start] != "]":
            _, end = _SCANNER.raw_decode(text, start)
            yield text[start:end].encode(errors="surrogateescape")
            end = _skip_blanks(text, end)
            start = end if text[end] == "]" else _skip_blanks(text, end + 1)
    except (ValueError, RecursionError) as error:
        raise malformed(str(error)) from error


def _skip_blanks(text: str, start: int) -> int:
    match = _BLANKS.match(text, start)
    return match.end() if match else start


def _too_many_runs() -> GlueError:
    return malformed(f"the page has more than {_MAX_RUNS:,} runs")


def _skipped_id(raw: bytes) -> str:
    try:
        return str(_cut(_RUN_ID.decode(raw).task_run_id, MAX_NAME))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return f"unknown, hash {blake2b(raw, digest_size=8).hexdigest()}"


def decode_records(body: bytes) -> tuple[list[Record], str | None]:
    """Return the runs with all their members, and the NextToken, of a GetMLTaskRuns answer."""
    page = _decode(_RECORD_PAGE, body)
    return page.task_runs, page.next_token or None


def decode_run(body: bytes) -> RunPage:
    """Return a page with the one run of a GetMLTaskRun answer."""
    return _run_page([_decode(_RUN, body)])


def decode_listing(body: bytes) -> tuple[list[str], str | None]:
    """Return the transform ids and the NextToken of a ListMLTransforms answer."""
    listing = _decode(_LISTING, body)
    return listing.transform_ids, listing.next_token or None


def decode_transforms(body: bytes) -> tuple[dict[str, Details], str | None]:
    """Return name and status of the transforms by id, and the NextToken, of a GetMLTransforms answer."""
    page = _decode(_TRANSFORMS, body)
    transforms = {
        one.transform_id: Details(name=_cut(one.name, MAX_NAME) or "", status=_cut(one.status, MAX_NAME) or "")
        for one in page.transforms
    }
    return transforms, page.next_token or None


def decode_details(body: bytes) -> Details:
    """Return the transform of a GetMLTransform answer."""
    transform = _decode(_TRANSFORM, body)
    parameters = transform.parameters or _Parameters()
    quality = (transform.evaluation_metrics or _Evaluation()).find_matches_metrics or _Quality()
    return Details(
        name=_cut(transform.name, MAX_NAME) or "",
        status=_cut(transform.status, MAX_NAME) or "",
        transform_type=_cut(parameters.transform_type, MAX_NAME) or "",
        glue_version=_cut(transform.glue_version, MAX_NAME) or "",
        worker_type=_cut(transform.worker_type, MAX_NAME) or "",
        label_count=transform.label_count,
        precision=quality.precision,
        recall=quality.recall,
        f1=quality.f1,
        area_under_pr_curve=quality.area_under_pr_curve,
        capacity=_capacity(transform),
    )


def _capacity(transform: _Transform) -> float | None:
    """Return the DPUs that a run may use; None if the answer does not say it, or for an unknown type of worker."""
    if transform.max_capacity is not None:
        capacity = transform.max_capacity
    else:
        capacity = _DPUS_OF_WORKER.get(transform.worker_type or "", 0) * (transform.number_of_workers or 0)
    return capacity if 0 < capacity < _MOST_DPUS else None


_MOST_DPUS = 1e6
"""A capacity of this size is a mistake in the answer. AWS allows 100 DPUs for a transform."""

_DPUS_OF_WORKER = {
    "Standard": 1,
    "G.025X": 0.25,
    "G.1X": 1,
    "G.2X": 2,
    "G.4X": 4,
    "G.8X": 8,
    "G.12X": 12,
    "G.16X": 16,
}
"""DPUs of one worker, as the AWS Glue API reference gives them for ``WorkerType``: a DPU is 4 vCPUs and 16 GB.

The types R and Z are missing, because AWS counts them in M-DPUs, which have another price.
"""


def decode_tags(body: bytes) -> dict[str, str]:
    """Return the tags of a GetTags answer."""
    return {key: _cut(value, MAX_TAG) or "" for key, value in _decode(_TAGS, body).tags.items()}


def encode_answer(answer: Mapping[str, Any]) -> bytes:
    """Return the JSON of an answer that botocore has parsed to dicts and datetimes, for the functions above."""
    try:
        return msgspec.json.encode(_with_epoch_times(answer))
    except UnicodeEncodeError as error:  # half of a surrogate pair, which can be neither stored nor sent
        raise malformed(f"text that is no Unicode: {error.reason}") from error


def _with_epoch_times(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, Mapping):
        return {name: _with_epoch_times(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_with_epoch_times(member) for member in value]
    return value


def malformed(cause: str) -> GlueError:
    """Return the error for an answer that does not have the documented shape."""
    return GlueError(
        "malformed_response",
        f"the answer does not have the documented shape: {cause}",
        advice="check endpoint_url and any proxy between the exporter and Glue",
    )


def _decode(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(str(error)) from error


def _cut(text: str | None, limit: int = MAX_TEXT) -> str | None:
    """Return the text, with an ellipsis in place of what is beyond ``limit`` characters."""
    return text if text is None or len(text) <= limit else f"{text[: limit - 1]}…"


def _run_page(runs: Sequence[_Run], skipped: Sequence[SkippedRun] = ()) -> RunPage:
    return RunPage(
        ids=[run.task_run_id for run in runs],
        kinds=[(_type_of(run.properties), run.status or UNKNOWN) for run in runs],
        starts=[run.started_on for run in runs],
        ends=[run.completed_on for run in runs],
        run_at=partial(_run_at, runs),
        properties_of=partial(_properties_of, runs),
        skipped=skipped,
    )


def _type_of(properties: _Properties | None) -> str:
    return (properties.task_type if properties is not None else None) or UNKNOWN


def _run_at(runs: Sequence[_Run], position: int) -> TaskRun:
    run = runs[position]
    return TaskRun(
        run.task_run_id,
        _type_of(run.properties),
        run.status or UNKNOWN,
        run.started_on,
        run.completed_on,
        run.execution_time,
        _cut(run.error_string),
        _cut(run.log_group_name),
    )


def _properties_of(runs: Sequence[_Run], position: int) -> Properties:
    """Return the properties of a run, or `NO_PROPERTIES` if they have another shape.

    This case raises no error, because only the status page uses the properties.
    """
    properties = runs[position].properties
    if properties is None:
        return NO_PROPERTIES
    by_task_type = (
        properties.import_labels_task_run_properties,
        properties.export_labels_task_run_properties,
        properties.labeling_set_generation_task_run_properties,
        properties.find_matches_task_run_properties,
    )
    raw = next((raw for raw in map(bytes, by_task_type) if raw not in (b"", b"null")), b"{}")
    try:
        found = _TYPE_PROPERTIES.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NO_PROPERTIES
    return Properties(
        _cut(found.input_s3_path),
        found.replace,
        _cut(found.output_s3_path),
        _cut(found.job_id),
        _cut(found.job_name),
        _cut(found.job_run_id),
    )
