"""The steps of a graph that counts runs, evaluated by promtool on series of every kind."""

from pathlib import Path

import pytest
import yaml

from dashboards.parts import counted_once
from tests.support import run, tool

COUNTER = "glue_ml_task_runs_finished_total"
MINUTES = 10

SCENARIOS = {
    "a counter that rises": ({"a": "0x8 1x8 3x30"}, 3),
    "a counter that existed before Prometheus": ({"a": "_x5 500x40"}, 0),
    "a counter that starts again at 0": ({"a": "5x10 0x9 2x30"}, 2),
    "a new counter that rises in its first step": ({"a": "_x5 0x1 1x40"}, 1),
    "a new instance that continues with its state": ({"a": "5x10 6x5 stale", "b": "_x17 6x8 8x30"}, 3),
    "a new instance without state": ({"a": "5x10 6x5 stale", "b": "_x17 0x8 2x30"}, 3),
    "two replicas that have counted since different times": ({"a": "100x9 102x40", "b": "60x9 62x40"}, 2),
    "two replicas that see a run at different times": ({"a": "7x9 8x40", "b": "7x12 8x40"}, 1),
    "a replica that goes and returns": ({"a": "100x9 stale _x9 100x9 101x20", "b": "60x28 61x20"}, 1),
    "a gap in the scrapes": ({"a": "1x9 _x10 4x30"}, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize("step", ["15s", "1m", "2m30s"])
def test_the_steps_add_up_to_the_true_number(version: str, step: str, tmp_path: Path) -> None:
    """At each zoom the steps add up to the runs that ended while Prometheus watched, whatever happens to the series."""
    expr = counted_once("transform_id", COUNTER).replace("$__interval", step)
    tests = [
        {
            "name": name,
            "interval": "15s",
            "input_series": [
                {"series": f'{COUNTER}{{transform_id="tfm-1",instance="{instance}"}}', "values": values}
                for instance, values in series.items()
            ],
            "promql_expr_test": [
                {
                    "expr": f"sum_over_time(({expr})[{MINUTES}m:{step}])",
                    "eval_time": f"{MINUTES}m",
                    "exp_samples": [{"labels": '{transform_id="tfm-1"}', "value": total}],
                }
            ],
        }
        for name, (series, total) in SCENARIOS.items()
    ]
    (tmp_path / "steps.yaml").write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": tests}))
    checked = run(tool("promtool", version=version), "test", "rules", "steps.yaml", folder=tmp_path)
    assert checked.exit_code == 0, checked.stdout + checked.stderr
