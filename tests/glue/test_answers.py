"""Answers that botocore takes as they are, though they are not of the documented shape."""

import pytest

from exporter.errors import GlueError
from exporter.glue.decode import (
    convert_details,
    convert_listing,
    convert_run,
    convert_tags,
    decode_listing,
    decode_page,
)

HALF = "half \ud800 a pair"
ESCAPED = rb"half \ud800 a pair"


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (convert_run, {"TaskRunId": "tsk-1", "ErrorString": HALF}),
        (convert_run, {"TaskRunId": HALF}),
        (convert_run, {"TaskRunId": "tsk-1", "Properties": {"TaskType": HALF}}),
        (convert_run, {"TaskRunId": "tsk-1", "Properties": 7}),
        (convert_run, {}),
        (convert_details, {"TransformId": "tfm-a", "Name": HALF}),
        (convert_details, {"TransformId": "tfm-a", "Name": []}),
        (convert_tags, {"Tags": {"team": HALF}}),
        (convert_tags, {"Tags": {HALF: "blue"}}),
        (convert_tags, {"Tags": {"team": 7}}),
        (convert_tags, {"Tags": "none"}),
        (convert_tags, {}),
        (convert_listing, {"TransformIds": [HALF]}),
        (convert_listing, {}),
        (decode_listing, b'{"TransformIds": ["%s"]}' % ESCAPED),
        (decode_listing, b'{"TransformIds": "none"}'),
        (decode_listing, b'{"TransformIds": [""]}'),
        (decode_listing, b'{"TransformIds": [null]}'),
        (decode_listing, b'{"TransformIds": ["tfm-a"], "NextToken": 7}'),
        (decode_listing, b"{}"),
        (decode_listing, b""),
        (decode_page, b'{"TaskRuns": [{"TaskRunId": "tsk-1", "ErrorString": "%s"}]}' % ESCAPED),
    ],
)
def test_an_answer_of_another_shape_is_malformed(read, answer):
    """Text that is no Unicode, and values of another type than documented, make the whole answer malformed."""
    with pytest.raises(GlueError) as failure:
        read(answer)
    assert failure.value.reason == "malformed_response"


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (decode_listing, b'{"TransformIds": ["tfm-a", "tfm-b"], "NextToken": "t", "More": 1}'),
        (convert_listing, {"TransformIds": ["tfm-a", "tfm-b"], "NextToken": "t", "More": 1}),
    ],
)
def test_a_page_of_a_listing_has_ids_and_a_token(read, answer):
    """The ids come in their order, with the token; what is not known is passed over."""
    assert read(answer) == (["tfm-a", "tfm-b"], "t")
