"""What the configuration may leave out of a scrape: names alone, so that they can be checked where they are read.

`metrics.METRICS` and `runs.STATUSES` have the same ones; a test sees to it.
"""

NEVER = "glue_ml_transform_info"
"""What everything else is joined with."""

METRICS = (
    "glue_ml_task_runs",
    "glue_ml_task_runs_started_total",
    "glue_ml_task_runs_finished_total",
    "glue_ml_task_run_execution_seconds",
    "glue_ml_task_run_duration_seconds",
    "glue_ml_task_run_last_start_timestamp_seconds",
    "glue_ml_task_run_last_success_timestamp_seconds",
    "glue_ml_task_run_last_failure_timestamp_seconds",
    "glue_ml_task_run_latest_status",
    "glue_ml_task_run_latest_execution_seconds",
    "glue_ml_task_run_oldest_active_start_timestamp_seconds",
    "glue_ml_transform_status",
    "glue_ml_transform_training_labels",
    "glue_ml_transform_precision_ratio",
    "glue_ml_transform_recall_ratio",
    "glue_ml_transform_f1_ratio",
    "glue_ml_transform_area_under_pr_curve_ratio",
    "glue_ml_transform_up",
    "glue_ml_transform_last_poll_timestamp_seconds",
    "glue_ml_transform_last_successful_poll_timestamp_seconds",
    "glue_ml_transform_poll_duration_seconds",
)

STATUSES = ("STARTING", "RUNNING", "STOPPING", "STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT")
