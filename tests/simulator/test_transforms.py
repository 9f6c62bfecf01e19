from datetime import UTC, datetime

import pytest

from exporter.simulator import Simulator
from tests.simulator.clients import Clock, client, walk

NOW = 1_795_000_000
SCENARIO = {
    "seed": 3,
    "credentials": {"keys": {"AKIAOTHER": "222222222222"}},
    "transforms": [
        {"name": "alpha", "id": "tfm-a", "tags": {"team": "crm", "monitor": "true"}, "created": "-10d"},
        {"name": "beta", "id": "tfm-b", "tags": {"monitor": "true"}, "created": "-20d", "glue_version": "3.0"},
        {"name": "beta", "id": "tfm-c", "status": "NOT_READY", "created": "-30d", "columns": {"id": "int"}},
        {"name": "far", "id": "tfm-far", "region": "us-east-1"},
        {"name": "foreign", "id": "tfm-foreign", "account": "222222222222"},
    ],
}


@pytest.fixture
def glue(simulator):
    return client(simulator)


def day(age):
    """Return the time `age` days before the simulator's start."""
    return datetime.fromtimestamp(NOW - age * 86400, UTC)


@pytest.mark.parametrize(
    ("request_", "ids"),
    [
        ({}, ["tfm-a", "tfm-b", "tfm-c"]),
        ({"Tags": {"monitor": "true"}}, ["tfm-a", "tfm-b"]),
        ({"Tags": {"monitor": "true", "team": "crm"}}, ["tfm-a"]),
        ({"Tags": {"monitor": "false"}}, []),
        ({"Filter": {"Name": "beta"}}, ["tfm-b", "tfm-c"]),
        ({"Filter": {"Name": "beta", "Status": "READY"}}, ["tfm-b"]),
        ({"Filter": {"TransformType": "FIND_MATCHES"}}, ["tfm-a", "tfm-b", "tfm-c"]),
        ({"Filter": {"GlueVersion": "3.0"}}, ["tfm-b"]),
        ({"Filter": {"CreatedAfter": day(25), "CreatedBefore": day(15)}}, ["tfm-b"]),
        ({"Filter": {"LastModifiedAfter": day(15)}}, ["tfm-a"]),
        ({"Filter": {"LastModifiedBefore": day(25)}}, ["tfm-c"]),
        ({"Filter": {"Schema": [{"Name": "id", "DataType": "int"}]}}, ["tfm-c"]),
        ({"Sort": {"Column": "NAME", "SortDirection": "DESCENDING"}}, ["tfm-c", "tfm-b", "tfm-a"]),
        ({"Sort": {"Column": "STATUS", "SortDirection": "ASCENDING"}}, ["tfm-c", "tfm-a", "tfm-b"]),
        ({"Sort": {"Column": "CREATED", "SortDirection": "ASCENDING"}}, ["tfm-c", "tfm-b", "tfm-a"]),
        ({"Sort": {"Column": "LAST_MODIFIED", "SortDirection": "DESCENDING"}}, ["tfm-a", "tfm-b", "tfm-c"]),
        ({"Sort": {"Column": "TRANSFORM_TYPE", "SortDirection": "ASCENDING"}}, ["tfm-a", "tfm-b", "tfm-c"]),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_both_listings_of_transforms_filter_sort_and_page(glue, request_, ids, size):
    """ListMLTransforms and GetMLTransforms give the matching transforms, in order, with any page size."""
    assert walk(glue.list_ml_transforms, "TransformIds", MaxResults=size, **request_) == ids
    if "Tags" not in request_:
        found = walk(glue.get_ml_transforms, "Transforms", MaxResults=size, **request_)
        assert [one["TransformId"] for one in found] == ids


def test_a_caller_sees_the_transforms_of_its_account_and_region(simulator, glue):
    """A caller sees the transforms of its account. A transform with a region is visible only in that region."""
    other = client(simulator, key="AKIAOTHER")
    assert other.list_ml_transforms()["TransformIds"] == ["tfm-foreign"]
    assert "tfm-far" in client(simulator, region="us-east-1").list_ml_transforms()["TransformIds"]
    for hidden in ("tfm-far", "tfm-foreign", "tfm-none"):
        with pytest.raises(glue.exceptions.EntityNotFoundException):
            glue.get_ml_transform(TransformId=hidden)


def test_tags_can_be_read_by_arn(simulator, glue):
    """GetTags takes the ARN of a transform of the caller's account and region. The listing filters by the same tags."""
    simulator.world.tag_transform("tfm-a", {"stage": "live"})
    arn = "arn:aws:glue:eu-west-1:123456789012:mlTransform/tfm-a"
    assert glue.get_tags(ResourceArn=arn)["Tags"] == {"stage": "live"}
    assert glue.list_ml_transforms(Tags={"stage": "live"})["TransformIds"] == ["tfm-a"]
    for other in (
        arn.replace("tfm-a", "tfm-none"),
        arn.replace("123456789012", "999999999999"),
        arn.replace("eu-west-1", "us-east-1"),
        arn.replace("mlTransform", "job"),
    ):
        with pytest.raises(glue.exceptions.EntityNotFoundException):
            glue.get_tags(ResourceArn=other)


def test_get_ml_transform_gives_the_same_members_as_the_listing(glue):
    """GetMLTransform equals the entry in GetMLTransforms."""
    entry = glue.get_ml_transforms(Filter={"Name": "alpha"})["Transforms"][0]
    alone = glue.get_ml_transform(TransformId="tfm-a")
    assert {name: alone[name] for name in entry} == entry


def test_count_makes_that_many_transforms_with_ids_like_glues():
    """`count` makes numbered transforms. Their ids depend only on seed, name and number."""
    scenario = {"seed": 9, "transforms": [{"name": "bulk", "count": 120}]}
    with Simulator(scenario) as one, Simulator(scenario) as two:
        found = walk(client(one).get_ml_transforms, "Transforms")
        assert walk(client(two).list_ml_transforms, "TransformIds") == [t["TransformId"] for t in found]
    assert [t["Name"] for t in found] == [f"bulk-{number:05d}" for number in range(1, 121)]
    assert all(len(t["TransformId"]) == 44 and t["TransformId"].startswith("tfm-") for t in found)


def test_transforms_can_be_added_altered_and_removed_at_run_time():
    """The next answers show a transform that was added, altered or removed."""
    clock = Clock(NOW)
    with Simulator({}, clock=clock) as simulator:
        glue = client(simulator)
        assert glue.list_ml_transforms()["TransformIds"] == []
        (transform_id,) = simulator.world.add_transform({"name": "new", "labels": 3})
        clock.now += 60
        simulator.world.alter_transform(transform_id, {"Status": "DELETING", "LabelCount": None})
        record = glue.get_ml_transform(TransformId=transform_id)
        assert (record["Status"], "LabelCount" in record) == ("DELETING", False)
        assert record["LastModifiedOn"].timestamp() == clock.now
        simulator.world.remove_transform(transform_id)
        with pytest.raises(glue.exceptions.EntityNotFoundException):
            glue.get_ml_transform(TransformId=transform_id)
