"""The bytes of a GetMLTaskRuns answer to task runs, straight: no dict, no datetime in between.

AWS JSON 1.1: times are epoch numbers, a member without a value is left out. Source: the GetMLTaskRuns document.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import msgspec

from exporter.errors import GlueError
from exporter.model.task_run import NO_PROPERTIES, UNKNOWN, Properties, RunPage, TaskRun
from exporter.model.transform import Details


class _Properties(msgspec.Struct, rename="pascal", gc=False):
    """The part for the task type is left as it came: of a million runs, somebody looks at fifty."""

    task_type: str | None = None
    import_labels_task_run_properties: msgspec.Raw = msgspec.Raw()
    export_labels_task_run_properties: msgspec.Raw = msgspec.Raw()
    labeling_set_generation_task_run_properties: msgspec.Raw = msgspec.Raw()
    find_matches_task_run_properties: msgspec.Raw = msgspec.Raw()


class _Particulars(msgspec.Struct, rename="pascal"):
    input_s3_path: str | None = msgspec.field(name="InputS3Path", default=None)
    replace: bool | None = None
    output_s3_path: str | None = msgspec.field(name="OutputS3Path", default=None)
    job_id: str | None = None
    job_name: str | None = None
    job_run_id: str | None = None


class _Run(msgspec.Struct, rename="pascal", gc=False):
    task_run_id: Annotated[str, msgspec.Meta(min_length=1)]
    status: str | None = None
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
    find_matches_metrics: _Quality = msgspec.field(default_factory=_Quality)


class _Parameters(msgspec.Struct, rename="pascal"):
    transform_type: str = ""


class _Transform(msgspec.Struct, rename="pascal"):
    transform_id: str
    name: str = ""
    status: str = ""
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)
    glue_version: str = ""
    worker_type: str = ""
    label_count: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    evaluation_metrics: _Evaluation = msgspec.field(default_factory=_Evaluation)


class _Page(msgspec.Struct, rename="pascal"):
    task_runs: list[_Run]
    next_token: str | None = None


class _Listing(msgspec.Struct, rename="pascal"):
    transform_ids: list[Annotated[str, msgspec.Meta(min_length=1, max_length=255)]]
    next_token: str | None = None


class _RecordPage(msgspec.Struct, rename="pascal"):
    task_runs: list[dict[str, Any]]
    next_token: str | None = None


_PAGE = msgspec.json.Decoder(_Page)
_LISTING = msgspec.json.Decoder(_Listing)
_RECORD_PAGE = msgspec.json.Decoder(_RecordPage)
_PARTICULARS = msgspec.json.Decoder(_Particulars)

Record = dict[str, Any]
"""A run with all that Glue tells of it, under Glue's own names; times are UTC seconds."""


def decode_page(body: bytes) -> tuple[RunPage, str | None]:
    """Return the runs and the NextToken of a page.

    Raises `GlueError` (malformed_response) unless the body is a JSON object with a ``TaskRuns`` array of runs that
    have a ``TaskRunId``: an answer without it is no empty history.
    """
    try:
        page = _PAGE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise malformed(str(error)) from error
    return _run_page(page.task_runs), page.next_token or None


def convert_page(parsed: Mapping[str, Any]) -> tuple[RunPage, str | None]:
    """Do the same with an answer that botocore has parsed to dicts and datetimes."""
    try:
        page = _PAGE.decode(msgspec.json.encode(_plain(parsed)))
    except msgspec.MsgspecError as error:
        raise malformed(str(error)) from error
    return _run_page(page.task_runs), page.next_token or None


def decode_listing(body: bytes) -> tuple[list[str], str | None]:
    """Return the transform ids and the NextToken of a page of ListMLTransforms.

    Raises `GlueError` (malformed_response) unless the body has a ``TransformIds`` array of ids: taken for an empty
    list, it would make all transforms leave. Botocore would take a text in its place for a list of letters.
    """
    try:
        listing = _LISTING.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise malformed(str(error)) from error
    return listing.transform_ids, listing.next_token or None


def convert_listing(parsed: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """Do the same with an answer that botocore has parsed."""
    try:
        listing = msgspec.convert(_plain(parsed), _Listing)
    except msgspec.MsgspecError as error:
        raise malformed(str(error)) from error
    return listing.transform_ids, listing.next_token or None


def convert_tags(parsed: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a GetTags answer that botocore has parsed."""
    try:
        return msgspec.convert(_plain(parsed.get("Tags")), dict[str, str])
    except msgspec.MsgspecError as error:
        raise malformed(str(error)) from error


def decode_records(body: bytes) -> tuple[list[Record], str | None]:
    """Return all that a page tells of its runs, and its NextToken; raises `GlueError` as `decode_page` does."""
    try:
        page = _RECORD_PAGE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise malformed(str(error)) from error
    return page.task_runs, page.next_token or None


def convert_records(parsed: Mapping[str, Any]) -> tuple[list[Record], str | None]:
    """Do the same with an answer that botocore has parsed to dicts and datetimes."""
    try:
        page = msgspec.convert(_plain(parsed), _RecordPage)
    except msgspec.MsgspecError as error:
        raise malformed(str(error)) from error
    return page.task_runs, page.next_token or None


def convert_run(parsed: Mapping[str, Any]) -> RunPage:
    """Return a page of the one run of a GetMLTaskRun answer that botocore has parsed."""
    try:
        return _run_page([msgspec.json.decode(msgspec.json.encode(_plain(parsed)), type=_Run)])
    except msgspec.MsgspecError as error:
        raise malformed(str(error)) from error


def convert_details(parsed: Mapping[str, Any]) -> Details:
    """Return what a GetMLTransform answer that botocore has parsed tells of the transform."""
    try:
        transform = msgspec.convert(_plain(parsed), _Transform)
    except msgspec.MsgspecError as error:
        raise malformed(str(error)) from error
    quality = transform.evaluation_metrics.find_matches_metrics
    return Details(
        name=transform.name,
        status=transform.status,
        transform_type=transform.parameters.transform_type,
        glue_version=transform.glue_version,
        worker_type=transform.worker_type,
        label_count=transform.label_count,
        precision=quality.precision,
        recall=quality.recall,
        f1=quality.f1,
        area_under_pr_curve=quality.area_under_pr_curve,
    )


def malformed(what: str) -> GlueError:
    """Return the error for an answer that has not the documented shape."""
    return GlueError(
        "malformed_response",
        f"the answer has not the documented shape: {what}",
        advice="check endpoint_url and any proxy between the exporter and Glue",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str) and not value.isascii():
        _check_unicode(value)
    if isinstance(value, Mapping):
        return {_plain(name): _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return value


def _check_unicode(text: str) -> None:
    """Raise `GlueError` for half of a surrogate pair: it can be neither stored nor sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise malformed(f"text that is no Unicode: {error.reason}") from error


def _run_page(runs: Sequence[_Run]) -> RunPage:
    return RunPage(
        ids=[run.task_run_id for run in runs],
        kinds=[(_type_of(run.properties), run.status or UNKNOWN) for run in runs],
        starts=[run.started_on for run in runs],
        ends=[run.completed_on for run in runs],
        run_at=partial(_run_at, runs),
        properties_of=partial(_properties_of, runs),
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
        run.error_string,
        run.log_group_name,
    )


def _properties_of(runs: Sequence[_Run], position: int) -> Properties:
    """Return the properties of a run; those that have not the documented shape are none: nothing is counted by them."""
    told = runs[position].properties
    if told is None:
        return NO_PROPERTIES
    parts = (
        told.import_labels_task_run_properties,
        told.export_labels_task_run_properties,
        told.labeling_set_generation_task_run_properties,
        told.find_matches_task_run_properties,
    )
    part = next((part for part in map(bytes, parts) if part not in (b"", b"null")), b"{}")
    try:
        its = _PARTICULARS.decode(part)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return NO_PROPERTIES
    return Properties(its.input_s3_path, its.replace, its.output_s3_path, its.job_id, its.job_name, its.job_run_id)
