import json
from datetime import UTC, datetime

import pytest

from exporter.glue.decode import (
    MAX_TEXT,
    decode_details,
    decode_listing,
    decode_page,
    decode_records,
    decode_run,
    decode_tags,
    decode_transforms,
    encode_answer,
)
from exporter.model.errors import GlueError
from exporter.model.transform import Details

NESTED = b'{"TaskRunId": "tsk-1", "TransformId": "tfm-a", "More": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

HALF = "half \ud800 a pair"


@pytest.mark.parametrize("as_sent", [True, False], ids=["bytes", "parsed by botocore"])
@pytest.mark.parametrize(
    ("decode", "answer"),
    [
        (decode_run, {"TaskRunId": "tsk-1", "ErrorString": HALF}),
        (decode_run, {"TaskRunId": HALF}),
        (decode_run, {"TaskRunId": "tsk-1", "Properties": {"TaskType": HALF}}),
        (decode_run, {"TaskRunId": "tsk-1", "Properties": 7}),
        (decode_run, {}),
        (decode_run, {"TaskRunId": "t" * 256}),
        (decode_run, {"TaskRunId": "tsk-1", "Status": "S" * 256}),
        (decode_run, {"TaskRunId": "tsk-1", "Properties": {"TaskType": "T" * 256}}),
        (decode_details, {"TransformId": "tfm-a", "Name": HALF}),
        (decode_details, {"TransformId": "tfm-a", "Name": []}),
        (decode_details, {}),
        (decode_tags, {"Tags": {"team": HALF}}),
        (decode_tags, {"Tags": {HALF: "blue"}}),
        (decode_tags, {"Tags": {"team": 7}}),
        (decode_tags, {"Tags": "none"}),
        (decode_tags, {}),
        (decode_transforms, {}),
        (decode_transforms, {"Transforms": ["tfm-a"]}),
        (decode_listing, {"TransformIds": [HALF]}),
        (decode_listing, {"TransformIds": "none"}),
        (decode_listing, {"TransformIds": [""]}),
        (decode_listing, {"TransformIds": [None]}),
        (decode_listing, {"TransformIds": ["tfm-a"], "NextToken": 7}),
        (decode_listing, {"TransformIds": ["tfm-a"], "NextToken": "t" * 16_385}),
        (decode_listing, {}),
        (decode_page, {"TaskRuns": [{"TaskRunId": "tsk-1", "ErrorString": HALF}]}),
        (decode_page, {}),
        (decode_records, {"TaskRuns": [{"TaskRunId": HALF}]}),
        (decode_records, {}),
    ],
)
def test_an_answer_of_another_shape_is_malformed(decode, answer, as_sent):
    """Text that is not Unicode, and values of an undocumented type, make the whole answer malformed."""
    with pytest.raises(GlueError) as failure:
        decode(json.dumps(answer).encode() if as_sent else encode_answer(answer))
    assert failure.value.reason == "malformed_response"


BAD_RUNS = [
    {"TaskRunId": "tsk-bad", "ExecutionTime": "n/a"},
    {"TaskRunId": "tsk-bad", "Properties": []},
    {"TaskRunId": "tsk-bad", "Status": "S" * 256},
    {"TaskRunId": "t" * 256},
    {"TaskRunId": 7},
    {"Status": "FAILED"},
    None,
    "tsk-bad",
    [],
]


@pytest.mark.parametrize("run", [b'{"TaskRunId":"tsk"}', b"{}", b"1", b"[]"])
def test_a_page_with_too_many_runs_is_malformed(run):
    """A page of 16 MB, which has room for a million runs, is refused before its runs are read one by one."""
    body = b'{"TaskRuns":[' + b",".join([run] * (16 * 2**20 // (len(run) + 1))) + b"]}"
    with pytest.raises(GlueError, match="more than 10,000 runs") as failure:
        decode_page(body)
    assert failure.value.reason == "malformed_response"


def test_blanks_between_runs_and_text_that_is_not_utf_8_cost_no_other_run():
    """In a page with a bad run, blanks separate runs, and each run is judged by its own bytes."""
    runs = b'{ "TaskRunId" : "a" } ,\n\t{"TaskRunId":"\xff"},{"TaskRunId":"b","ErrorString":"],[{\\"\xc3\xa9"} '
    page, token = decode_page(b'{"NextToken":"t", "TaskRuns" : [ ' + runs + b"]}")
    assert (list(page.ids), len(page.skipped), token) == (["a", "b"], 1, "t")


@pytest.mark.parametrize("bad", BAD_RUNS, ids=lambda bad: str(bad)[:40])
def test_a_run_of_another_shape_is_left_out_of_its_page(bad):
    """The other runs and the token of the page are returned, and the skipped run has the same id at each listing."""
    first, second = {"TaskRunId": "tsk-1", "StartedOn": 1.5}, {"TaskRunId": "tsk-2", "Status": "FAILED"}
    pages = [
        decode_page(json.dumps({"TaskRuns": runs, "NextToken": "next"}).encode())
        for runs in ([first, bad, second], [bad, second])
    ]
    assert [run.run_id for run in pages[0][0]] == ["tsk-1", "tsk-2"]
    assert [run.run_id for run in pages[1][0]] == ["tsk-2"]
    assert [token for _, token in pages] == ["next", "next"]
    [skipped] = pages[0][0].skipped
    assert [run.run_id for run in pages[1][0].skipped] == [skipped.run_id]
    assert 0 < len(skipped.run_id) <= 255
    assert skipped.error


@pytest.mark.parametrize("bad", BAD_RUNS, ids=lambda bad: str(bad)[:40])
def test_a_page_of_which_no_run_can_be_read_is_malformed(bad):
    """If no run of a page has the documented shape, the whole page is malformed."""
    with pytest.raises(GlueError) as failure:
        decode_page(json.dumps({"TaskRuns": [bad, bad]}).encode())
    assert failure.value.reason == "malformed_response"


@pytest.mark.parametrize(
    "decode", [decode_run, decode_details, decode_tags, decode_transforms, decode_listing, decode_page, decode_records]
)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"<html>", b"\xff", pytest.param(NESTED, id="nested")])
def test_a_body_that_is_not_a_json_object_is_malformed(decode, body):
    """An empty, truncated or too deeply nested body, and one of another format, make the whole answer malformed."""
    with pytest.raises(GlueError) as failure:
        decode(body)
    assert failure.value.reason == "malformed_response"


@pytest.mark.parametrize(
    "body",
    [
        b'{"TransformIds": ["tfm-a", "tfm-b"], "NextToken": "t", "More": 1}',
        encode_answer({"TransformIds": ["tfm-a", "tfm-b"], "NextToken": "t", "More": 1}),
    ],
)
def test_a_page_of_a_listing_has_ids_and_a_token(body):
    """The result has the ids in order and the token; unknown members are ignored."""
    assert decode_listing(body) == (["tfm-a", "tfm-b"], "t")


def test_members_without_a_value_are_empty_or_none():
    """A transform without optional members, or with null for them, has empty texts and no numbers."""
    nothing = {"Name": None, "Status": None, "Parameters": None, "EvaluationMetrics": {"FindMatchesMetrics": None}}
    for members in ({}, nothing):
        assert decode_details(json.dumps({"TransformId": "tfm-a", **members}).encode()) == Details()


def test_an_answer_that_botocore_parsed_is_converted_back_to_json():
    """Datetimes become epoch seconds at every depth, and everything else stays as it is."""
    answer = {"TaskRuns": [{"TaskRunId": "tsk-1", "StartedOn": datetime.fromtimestamp(1_790_000_000.125, UTC)}]}
    assert decode_records(encode_answer(answer)) == ([{"TaskRunId": "tsk-1", "StartedOn": 1_790_000_000.125}], None)


def test_a_text_of_any_length_is_cut_to_its_limit():
    """Error strings, log groups and jobs are cut to `MAX_TEXT` characters, names to 255, values of tags to 256."""
    long = "x" * 100_000
    paths = {"JobId": long, "JobName": long, "JobRunId": long}
    run = {
        "TaskRunId": "tsk-1",
        "ErrorString": long,
        "LogGroupName": long,
        "Properties": {"TaskType": "FIND_MATCHES", "FindMatchesTaskRunProperties": paths},
    }
    page = decode_run(json.dumps(run).encode())
    properties = page.properties_of(0)
    texts = [page.run_at(0).error, page.run_at(0).log_group, properties.job_id, properties.job_name]
    assert {(len(text), text[-2:]) for text in texts} == {(MAX_TEXT, "x…")}
    transform = {"TransformId": "tfm-a", "Name": long, "GlueVersion": long, "WorkerType": long, "Status": long}
    details = decode_details(json.dumps(transform).encode())
    assert {len(text) for text in (details.name, details.glue_version, details.worker_type, details.status)} == {255}
    assert len(decode_tags(json.dumps({"Tags": {"team": long}}).encode())["team"]) == 256
    assert len(decode_transforms(json.dumps({"Transforms": [transform]}).encode())[0]["tfm-a"].name) == 255


@pytest.mark.parametrize(
    ("members", "capacity"),
    [
        ({"MaxCapacity": 10.0}, 10.0),
        ({"MaxCapacity": 20.0, "WorkerType": "G.2X", "NumberOfWorkers": 5}, 20.0),
        ({"WorkerType": "Standard", "NumberOfWorkers": 3}, 3.0),
        ({"WorkerType": "G.025X", "NumberOfWorkers": 2}, 0.5),
        ({"WorkerType": "G.2X", "NumberOfWorkers": 5}, 10.0),
        ({"WorkerType": "G.2X"}, None),
        ({"WorkerType": "R.8X", "NumberOfWorkers": 5}, None),
        ({"WorkerType": "Q.99X", "NumberOfWorkers": 5}, None),
        ({"MaxCapacity": -1.0}, None),
        ({"MaxCapacity": 1e300}, None),
        ({}, None),
    ],
)
def test_capacity_in_dpus(members, capacity):
    """The capacity is MaxCapacity, else the DPUs of all workers; it is absent if the answer does not say it."""
    assert decode_details(json.dumps({"TransformId": "tfm-a", **members}).encode()).capacity == capacity
