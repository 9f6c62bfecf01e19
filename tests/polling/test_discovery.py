"""Discovery finds, keeps and removes transforms."""

import sqlite3
import threading
import time
from contextlib import closing

import pytest

from exporter.config.settings import load_config
from exporter.model.shard import Shard
from exporter.polling.discovery import Discovery
from exporter.simulator import Simulator
from exporter.telemetry import Telemetry
from tests.aws_environment import ONE
from tests.running import REGION, keeps_polling, no_threads, running, wait_for

UP = "glue_ml_exporter_discovery_up"
FOUND = "glue_ml_exporter_discovered_transforms"
INTERVAL = "glue_ml_transform_expected_interval_seconds"
DURATION = "glue_ml_transform_expected_duration_seconds"
QUICK = {"interval": "200ms"}
DEFAULT_ACCOUNT = "123456789012"


def arn(transform_id):
    return f"arn:aws:glue:{REGION}:{DEFAULT_ACCOUNT}:mlTransform/{transform_id}"


def wait_until_monitored(exporter, *transform_ids):
    wait_for(lambda: exporter.monitored_ids() == set(transform_ids), describe=lambda: str(exporter.monitored_ids()))


def test_discovery_adds_new_transforms_and_removes_the_series_of_deleted_ones(simulator):
    """Discovery without filters monitors exactly the transforms that ListMLTransforms returns."""
    with running(simulator, discovery=[QUICK]) as exporter:
        wait_until_monitored(exporter, "tfm-a", "tfm-b")
        exporter.wait_until_up("tfm-a", "tfm-b")
        simulator.world.add_transform({"id": "tfm-c", "name": "gamma"})
        wait_until_monitored(exporter, "tfm-a", "tfm-b", "tfm-c")
        simulator.world.remove_transform("tfm-a")
        wait_until_monitored(exporter, "tfm-b", "tfm-c")
        wait_for(lambda: exporter.value(FOUND, aws_account="default", aws_region=REGION) == 2)


def test_old_runs_of_a_discovered_transform_are_not_counted(simulator):
    """After the first poll of a discovered transform the gauges show its past runs and the counters are 0."""
    with running(simulator, discovery=[QUICK]) as exporter:
        wait_until_monitored(exporter, "tfm-a", "tfm-b")
        past = {"type": "EVALUATION", "status": "FAILED", "started": "-1h", "completed": "-30m"}
        simulator.world.add_transform({"id": "tfm-c", "name": "gamma", "runs": [past]})
        wait_for(lambda: exporter.value("glue_ml_task_runs", transform_id="tfm-c", status="FAILED") == 1)
        assert exporter.value("glue_ml_task_runs_finished_total", transform_id="tfm-c") == 0
        simulator.world.add_run("tfm-c", "EVALUATION", status="FAILED")
        wait_for(lambda: exporter.value("glue_ml_task_runs_finished_total", transform_id="tfm-c", status="FAILED") == 1)


def test_tags_and_the_pages_of_the_listing_are_used(simulator):
    """Glue applies the tags filter, and all pages of the listing are read."""
    simulator.world.add_transform({"name": "many", "count": 25, "tags": {"monitor": "true"}})
    discovery = [{"tags": {"monitor": "true"}}]
    with running(simulator, discovery=discovery, polling={"page_size": 10}) as exporter:
        wait_for(lambda: len(exporter.monitored_ids()) == 25)
        assert not {"tfm-a", "tfm-b"} & exporter.monitored_ids()
        listings = simulator.requests.all("ListMLTransforms")
        assert [one.params["MaxResults"] for one in listings] == [10, 10, 10]
        assert all(one.params["Tags"] == {"monitor": "true"} for one in listings)


def test_the_name_is_a_glob(simulator):
    """Only transforms whose name in Glue matches the case-sensitive pattern are monitored."""
    with running(simulator, discovery=[{**QUICK, "name": "al*"}]) as exporter:
        wait_until_monitored(exporter, "tfm-a")
        simulator.world.add_transform({"id": "tfm-c", "name": "altitude"})
        simulator.world.add_transform({"id": "tfm-d", "name": "Alpine"})
        wait_until_monitored(exporter, "tfm-a", "tfm-c")


@pytest.mark.slow
def test_discovery_and_details_share_one_request_for_the_name(simulator):
    """Discovery by name and the details of polls need one GetMLTransform for each transform."""
    with running(simulator, discovery=[{**QUICK, "name": "*"}]) as exporter:
        wait_until_monitored(exporter, "tfm-a", "tfm-b")
        exporter.wait_until_up("tfm-a", "tfm-b")
        keeps_polling(exporter, "tfm-a")
        wait_for(lambda: simulator.requests.count("ListMLTransforms") > 2)
        assert simulator.requests.count("GetMLTransform") == 2


def test_two_transforms_with_one_name_have_series_of_their_own(simulator):
    """Two transforms with the same name have separate series, one for each id."""
    simulator.world.add_transform({"id": "tfm-c", "name": "alpha"})
    with running(simulator, discovery=[{"name": "alpha"}]) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-c")
        infos = [labels for labels, _ in exporter.samples()["glue_ml_transform_info"]]
        assert sorted((one["transform_name"], one["transform_id"]) for one in infos) == [
            ("alpha", "tfm-a"),
            ("alpha", "tfm-c"),
        ]


def test_the_configuration_of_a_discovered_transform_wins(simulator):
    """A transform that is both configured and discovered has the configured name and labels."""
    transforms = [{"id": "tfm-a", "name": "mine", "labels": {"team": "me"}}]
    discovery = [{**QUICK, "tags": {"team": "blue"}, "labels_from_tags": ["team"]}, {**QUICK, "tags": {"team": "red"}}]
    with running(simulator, transforms=transforms, discovery=discovery) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        assert exporter.value("glue_ml_transform_info", transform_id="tfm-a", transform_name="mine", team="me") == 1
        simulator.world.alter_transform("tfm-a", {})
        assert exporter.reload(transforms=[]) is None
        wait_for(lambda: exporter.value("glue_ml_transform_info", transform_id="tfm-a", team="blue") == 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "access_denied"},
        {"kind": "throttle"},
        {"kind": "garbage", "body": "empty_object"},
        {"kind": "garbage", "body": "truncated"},
        {"kind": "garbage", "body": "wrong_types"},
        {"kind": "hang"},
        {"kind": "repeat_token"},
    ],
    ids=lambda fault: f"{fault['kind']} {fault.get('body', '')}",
)
def test_a_discovery_that_fails_keeps_the_transforms_found_before(simulator, caplog, fault):
    """While ListMLTransforms fails, known transforms are polled, the metric is 0 and the log has one line."""
    polling, began = {"request_timeout": "2s", "page_size": 1}, time.time()
    with running(simulator, discovery=[QUICK], polling=polling) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        wait_for(lambda: exporter.value(UP, aws_account="default", aws_region=REGION) == 1)
        simulator.faults.set({**fault, "operations": ["ListMLTransforms"]})
        wait_for(lambda: exporter.value(UP) == 0)
        broken = time.time()
        failed = simulator.requests.count("ListMLTransforms")
        wait_for(lambda: simulator.requests.count("ListMLTransforms") > failed + 2, timeout=60)
        assert exporter.reload(web={"status_page": "false"}) is None
        keeps_polling(exporter, "tfm-a", times=1)
        assert exporter.monitored_ids() == {"tfm-a", "tfm-b"}
        assert not exporter.errors()
        assert caplog.text.count("discovery fails") == 1
        succeeded = exporter.value("glue_ml_exporter_discovery_last_success_timestamp_seconds")
        assert began <= succeeded <= broken
        simulator.faults.clear()
        wait_for(lambda: exporter.value(UP) == 1, timeout=60)


@pytest.mark.slow
def test_a_discovered_transform_keeps_its_state_when_discovery_fails_at_the_start(simulator, tmp_path):
    """After an outage longer than the lookback, the counters continue although the first query has failed."""
    path = tmp_path / "state.db"
    state = {"path": path}
    finished = "glue_ml_task_runs_finished_total"
    with running(simulator, discovery=[QUICK], state=state) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        keeps_polling(exporter, "tfm-a")
        simulator.world.add_run("tfm-a", "EVALUATION", status="FAILED")
        wait_for(lambda: exporter.value(finished, transform_id="tfm-a", status="FAILED") == 1)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE transform SET seen = seen - 40 * 86400")
    simulator.faults.set({"kind": "access_denied", "operations": ["ListMLTransforms"]})
    with running(simulator, discovery=[QUICK], state=state) as exporter:
        wait_for(lambda: exporter.value(UP) == 0)
        simulator.faults.clear()
        exporter.wait_until_up("tfm-a", "tfm-b")
        assert exporter.value(finished, transform_id="tfm-a", status="FAILED") == 1


@pytest.mark.slow
def test_a_discovery_that_cannot_read_names_fails_and_removes_no_transform(simulator):
    """If GetMLTransform fails for one transform, a discovery with a name pattern fails and keeps its last result."""
    with running(simulator, discovery=[{**QUICK, "name": "*"}]) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        simulator.faults.set({"kind": "throttle", "operations": ["GetMLTransform"]})
        simulator.world.add_transform({"id": "tfm-c", "name": "gamma"})
        wait_for(lambda: exporter.value(UP) == 0)
        assert exporter.monitored_ids() == {"tfm-a", "tfm-b"}
        simulator.faults.clear()
        wait_until_monitored(exporter, "tfm-a", "tfm-b", "tfm-c")


def test_a_first_discovery_that_hangs_delays_nothing_else(simulator):
    """While discovery in one region hangs, configured transforms and the other region's transforms are polled."""
    simulator.faults.set({"kind": "hang", "operations": ["ListMLTransforms"], "regions": ["us-east-1"]})
    simulator.world.add_transform({"id": "tfm-east", "name": "east", "region": "us-east-1"})
    discovery = [{"regions": [REGION, "us-east-1"], "tags": {"team": "blue"}}]
    polling = {"request_timeout": "20s"}
    with running(simulator, transforms=["tfm-b"], discovery=discovery, polling=polling) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")


def test_the_number_of_transforms_is_left_out_of_the_log_while_only_discovery_can_know_it(simulator):
    """The start and a reload log no number of transforms before the first discovery ends, and then the real number."""
    lanes = {"accounts_and_regions": 1, "discovery_queries": 1}
    simulator.faults.set({"kind": "delay", "seconds": 1.5, "operations": ["ListMLTransforms"], "times": 1})
    with running(simulator, discovery=[QUICK]) as exporter:
        assert exporter.service.scope == lanes
        exporter.wait_until_up("tfm-a", "tfm-b")
        assert exporter.service.scope == {"transforms": 2, **lanes}


def test_readiness_waits_for_the_first_discovery_for_at_most_an_interval(simulator):
    """The exporter is ready after the first discovery and the polls of its transforms, or after an interval."""
    simulator.faults.set({"kind": "delay", "seconds": 0.6, "operations": ["ListMLTransforms"], "times": 1})
    with running(simulator, discovery=[QUICK], polling={"interval": "1h", "stale_after": "2h"}) as exporter:
        assert not exporter.service.is_ready()
        wait_for(exporter.service.is_ready)
        assert exporter.up("tfm-a") == 1
    simulator.faults.set({"kind": "hang", "operations": ["ListMLTransforms"]})
    with running(simulator, discovery=[QUICK], polling={"interval": "300ms"}) as exporter:
        assert not exporter.service.is_ready()
        wait_for(exporter.service.is_ready)


@pytest.mark.slow
def test_a_reload_changes_discovery_without_a_gap(simulator):
    """After a reload a discovery keeps its transforms; a changed discovery keeps its old ones until AWS answers."""
    with running(simulator, discovery=[QUICK]) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        simulator.faults.set({"kind": "delay", "seconds": 1.5, "operations": ["ListMLTransforms"]})
        assert exporter.reload(polling={**exporter.config["polling"], "interval": "150ms"}) is None
        assert exporter.monitored_ids() == {"tfm-a", "tfm-b"}
        assert exporter.reload(discovery=[{**QUICK, "tags": {"team": "red"}}]) is None
        keeps_polling(exporter, "tfm-a", times=1)
        assert exporter.monitored_ids() == {"tfm-a", "tfm-b"}
        wait_until_monitored(exporter, "tfm-b")
        assert exporter.reload(discovery=[], transforms=["tfm-a"]) is None
        wait_until_monitored(exporter, "tfm-a")
        wait_for(lambda: exporter.value(FOUND) is None)


def test_a_label_whose_tag_is_a_filter_needs_no_request(simulator):
    """A label from a tag that the filter names needs no GetTags."""
    discovery = [{"tags": {"team": "blue"}, "labels_from_tags": ["team"]}]
    with running(simulator, discovery=discovery) as exporter:
        exporter.wait_until_up("tfm-a")
        assert exporter.value("glue_ml_transform_info", transform_id="tfm-a", team="blue") == 1
        assert not simulator.requests.count("GetTags")


def test_labels_come_from_gettags_and_follow_it(simulator):
    """Other tags are read by ARN, their keys become label names, and labels follow changed and removed tags."""
    with running(simulator, discovery=[{**QUICK, "labels_from_tags": ["team", "cost-center"]}]) as exporter:
        exporter.wait_until_up("tfm-a", "tfm-b")
        info = {"transform_id": "tfm-a", "cost_center": "7", "team": "blue"}
        wait_for(lambda: exporter.value("glue_ml_transform_info", **info) == 1)
        asked = {one.params["ResourceArn"] for one in simulator.requests.all("GetTags")}
        assert asked == {arn("tfm-a"), arn("tfm-b")}
        simulator.world.tag_transform("tfm-a", {"cost-center": "8"})
        wait_for(lambda: exporter.value("glue_ml_transform_info", transform_id="tfm-a", cost_center="8") == 1)
        infos = [labels for labels, _ in exporter.samples()["glue_ml_transform_info"]]
        labels = next(one for one in infos if one["transform_id"] == "tfm-a")
        assert "team" not in labels


@pytest.mark.slow
def test_labels_keep_their_last_values_when_gettags_is_denied(simulator, caplog):
    """When GetTags is denied, labels keep their values, discovery continues, and the log has one warning."""
    with running(simulator, discovery=[{**QUICK, "labels_from_tags": ["team"]}]) as exporter:
        wait_for(lambda: exporter.value("glue_ml_transform_info", transform_id="tfm-a", team="blue") == 1)
        simulator.faults.set({"kind": "access_denied", "operations": ["GetTags"]})
        simulator.world.add_transform({"id": "tfm-c", "name": "gamma"})
        exporter.wait_until_up("tfm-c")
        denied = simulator.requests.count("GetTags", "AccessDeniedException")
        wait_for(lambda: simulator.requests.count("GetTags", "AccessDeniedException") > denied + 3)
        assert exporter.value("glue_ml_transform_info", transform_id="tfm-a", team="blue") == 1
        assert exporter.value(UP) == 1
        assert caplog.text.count("tags cannot be read") == 1


def test_expected_times_come_from_tags(simulator, caplog):
    """Tags give the expected times; a tag that is no duration above 0 is ignored and logged once for each value."""
    tags = {"expected_interval_tag": "glue-ml/expected-interval", "expected_duration_tag": "longest"}
    simulator.world.tag_transform("tfm-a", {"glue-ml/expected-interval": "1d", "longest": "soon"})
    simulator.world.tag_transform("tfm-b", {"longest": "1h30m"})
    transforms = [{"id": "tfm-b", "expected_interval": "2h"}]
    with running(simulator, transforms=transforms, discovery=[{**QUICK, **tags}]) as exporter:
        wait_for(lambda: exporter.value(INTERVAL, transform_id="tfm-a") == 86400)
        wait_for(lambda: exporter.value(DURATION, transform_id="tfm-b") == 5400)
        assert exporter.value(INTERVAL, transform_id="tfm-b") == 7200
        assert exporter.value(DURATION, transform_id="tfm-a") is None
        simulator.world.tag_transform("tfm-a", {"longest": "0s"})
        wait_for(lambda: caplog.text.count("is not a duration above 0") == 2)
        simulator.world.tag_transform("tfm-a", {"longest": "10m"})
        wait_for(lambda: exporter.value(DURATION, transform_id="tfm-a") == 600)
        assert caplog.text.count("is not a duration above 0") == 2


def test_an_unknown_account_id_is_read_once(simulator):
    """If neither role nor credentials have the account id, one GetCallerIdentity reads it for the ARNs of GetTags."""
    with running(simulator, discovery=[{**QUICK, "labels_from_tags": ["team"]}]) as exporter:
        wait_for(lambda: exporter.value("glue_ml_transform_info", team="blue", aws_account_id=DEFAULT_ACCOUNT) == 1)
        assert simulator.requests.count("GetCallerIdentity") == 1


def test_discovery_works_in_each_account_with_its_own_credentials(simulator):
    """Discovery in an account uses its credentials, and its metrics carry the account's name."""
    accounts = [{"name": "one", "profile": "one"}, {"name": "ambient"}]
    discovery = [{"account": "one"}, {"account": "ambient", "tags": {"team": "red"}}]
    with running(simulator, accounts=accounts, discovery=discovery) as exporter:
        wait_until_monitored(exporter, "tfm-one", "tfm-b")
        exporter.wait_until_up("tfm-one", "tfm-b")
        polls = simulator.requests.all("GetMLTaskRuns")
        assert {one.account for one in polls if one.transform_id == "tfm-one"} == {ONE}
        assert exporter.value(FOUND, aws_account="one", aws_region=REGION) == 1


class Broken:
    """A stand-in for GlueClients and GlueClient, whose listings raise an unexpected exception."""

    def __init__(self):
        self.asked = []

    def client_for(self, _):
        return self

    def transform_ids(self, *_, **__):
        self.asked.append(time.monotonic())
        raise ZeroDivisionError


def test_a_query_runs_again_after_a_defect(caplog):
    """A query that raises an unexpected exception is logged, counts as failed, and is made again at its interval."""
    text = "{region: eu-west-1, discovery: [{interval: 200ms}], polling: {interval: 200ms}}"
    config = load_config(text, source="test", environ={})
    stop, broken = threading.Event(), Broken()
    discovery = Discovery(Telemetry(process=False), Shard(), stop=stop, on_found=lambda: None)
    discovery.apply(discovery.plan(config), config, broken)
    thread = threading.Thread(target=discovery.run)
    began = time.monotonic()
    thread.start()
    try:
        wait_for(lambda: len(broken.asked) >= 4)
        assert discovery.failing
    finally:
        stop.set()
        thread.join()
    # A busy machine makes queries late, never early.
    assert all(asked - began >= 0.2 * number - 0.01 for number, asked in enumerate(broken.asked))
    assert "a defect in this program" in caplog.text


class Found(Broken):
    """An account with one transform."""

    def transform_ids(self, *_, **__):
        self.asked.append(time.monotonic())
        return ["tfm-a"]


@pytest.mark.slow
def test_a_query_without_a_thread_is_made_later(caplog):
    """If no thread can start, the log says so; the query runs as soon as threads can start again."""
    config = load_config("{region: eu-west-1, discovery: [{interval: 200ms}]}", source="test", environ={})
    stop, glue = threading.Event(), Found()
    discovery = Discovery(Telemetry(process=False), Shard(), stop=stop, on_found=lambda: None)
    thread = threading.Thread(target=discovery.run)
    thread.start()
    try:
        with no_threads():
            discovery.apply(discovery.plan(config), config, glue)
            wait_for(lambda: "no more threads" in caplog.text)
            assert not glue.asked
        wait_for(lambda: len(glue.asked) >= 2)
    finally:
        stop.set()
        thread.join()


def test_an_account_without_transforms_is_no_failure():
    """If an account has no transforms, its discovery succeeds and the exporter is ready."""
    with Simulator({"transforms": []}) as simulator, running(simulator, discovery=[QUICK]) as exporter:
        wait_for(exporter.service.is_ready)
        wait_for(lambda: exporter.value(FOUND) == 0)
        assert not exporter.service.failing
