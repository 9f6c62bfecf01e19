"""The first table of the overview, evaluated by promtool on transforms of every kind."""

from pathlib import Path

import pytest
import yaml

from tests.dashboards.panels import filled, targets
from tests.support import run, tool

EVERYTHING = {
    **dict.fromkeys(("account", "region", "transform"), ".+"),
    **dict.fromkeys(("cluster", "namespace", "team"), ".*"),
}
REGIONS = {"cn": "cn-north-1", "gov": "us-gov-west-1"}
CONSOLES = {"cn": "cn-north-1.console.amazonaws.cn", "gov": "us-gov-west-1.console.amazonaws-us-gov.com"}


def labels(transform: str, **others: str) -> str:
    pairs = {"transform_id": f"tfm-{transform}", "transform_name": transform, **others}
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(pairs.items())) + "}"


def times(transform: str, *, failed: int, succeeded: int | None, reason: str) -> dict[str, int]:
    """Return the series of a transform whose FIND_MATCHES runs ended at these times."""
    run_labels = {"task_type": "FIND_MATCHES", "status": "FAILED"}
    found = {
        f"glue_ml_task_run_last_failure_timestamp_seconds{labels(transform, **run_labels)}": failed,
        f"glue_ml_task_run_last_failure_info{labels(transform, **run_labels, reason=reason)}": 1,
    }
    if succeeded is not None:
        found[f"glue_ml_task_run_last_success_timestamp_seconds{labels(transform, task_type='FIND_MATCHES')}"] = (
            succeeded
        )
    return found


def down(transform: str, *, tried: int, succeeded: int | None, reason: str) -> dict[str, int]:
    """Return the series of a transform whose last poll failed."""
    found = {
        f"glue_ml_transform_up{labels(transform)}": 0,
        f"glue_ml_transform_last_poll_timestamp_seconds{labels(transform)}": tried,
        f"glue_ml_transform_last_poll_error_info{labels(transform, reason=reason, operation='GetMLTaskRuns')}": 1,
    }
    if succeeded is not None:
        found[f"glue_ml_transform_last_successful_poll_timestamp_seconds{labels(transform)}"] = succeeded
    return found


SERIES = {
    **times("failing", failed=100, succeeded=50, reason="access_denied"),
    **times("recovered", failed=100, succeeded=200, reason="access_denied"),
    **times("cn", failed=110, succeeded=None, reason="timeout"),
    **times("gov", failed=120, succeeded=None, reason="other"),
    **down("down", tried=300, succeeded=60, reason="AccessDeniedException"),
    **down("never", tried=310, succeeded=None, reason="EntityNotFoundException"),
    f"glue_ml_transform_up{labels('failing')}": 1,
}
ROWS = {
    ("failing", "FIND_MATCHES", "FAILED", "access_denied"): 100,
    ("cn", "FIND_MATCHES", "FAILED", "timeout"): 110,
    ("gov", "FIND_MATCHES", "FAILED", "other"): 120,
    ("down", "", "DOWN", "AccessDeniedException"): 60,
    ("never", "", "DOWN", "EntityNotFoundException"): 310,
}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2", "3"])
def test_the_table_has_what_fails_now(version: str, tmp_path: Path) -> None:
    """The table has failures without a later success and transforms that are down, with reason, team and console."""
    transforms = {name.partition('transform_name="')[2].partition('"')[0] for name in SERIES}
    places = {
        "glue_ml_transform_info"
        + labels(name, aws_account="prod", aws_region=REGIONS.get(name, "eu-west-1"), team="crm", instance=instance): 1
        for name in transforms
        for instance in ("a", "b")
    }
    rows = [
        {
            "labels": labels(
                name,
                **({"task_type": task_type} if task_type else {}),
                status=status,
                reason=reason,
                team="crm",
                aws_account="prod",
                aws_region=REGIONS.get(name, "eu-west-1"),
                console=CONSOLES.get(name, "eu-west-1.console.aws.amazon.com"),
            ),
            "value": 1000 * time,
        }
        for (name, task_type, status, reason), time in ROWS.items()
    ]
    (target,) = (one for one in targets() if one.panel["title"] == "Failing now")
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": f"{value}x40"} for name, value in {**SERIES, **places}.items()],
        "promql_expr_test": [{"expr": filled(target.expr, EVERYTHING), "eval_time": "5m", "exp_samples": rows}],
    }
    (tmp_path / "failing.yaml").write_text(yaml.safe_dump({"tests": [test]}))
    checked = run(tool("promtool", version=version), "test", "rules", "failing.yaml", folder=tmp_path)
    assert checked.exit_code == 0, checked.stdout + checked.stderr
