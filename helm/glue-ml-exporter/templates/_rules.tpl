{{- /* Made by helm/generate.py from alerts/. Edit those, then: make generate */ -}}
{{- define "glue-ml-exporter.rules.glue-ml-transforms" -}}
{{- $t := .thresholds -}}
- record: transform:glue_ml_transform_info:latest
  expr: |-
    topk by (transform_id) (1, max by (transform_id, transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }}) (glue_ml_transform_info))
    or on (transform_id)
    topk by (transform_id) (1, max by (transform_id, transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }}) (last_over_time(glue_ml_transform_info[{{ $t.window }}])))
    or on (transform_id)
    topk by (transform_id) (1, group by (transform_id, transform_name) (glue_ml_transform_up))
- record: transform_task_type_status:glue_ml_task_runs_finished:increase
  expr: max by (transform_id, task_type, status) (increase(glue_ml_task_runs_finished_total{status=~"FAILED|TIMEOUT"}[{{ $t.window }}]))
- record: transform_task_type_status:glue_ml_task_run_last_failure_timestamp_seconds:max
  expr: max by (transform_id, task_type, status) (max_over_time(glue_ml_task_run_last_failure_timestamp_seconds[{{ $t.window }}]))
- record: transform_task_type:glue_ml_task_run_last_success_timestamp_seconds:max
  expr: max by (transform_id, task_type) (max_over_time(glue_ml_task_run_last_success_timestamp_seconds[{{ $t.window }}]))
- record: transform_task_type:glue_ml_task_run_active_seconds:max
  expr: time() - max by (transform_id, task_type) (glue_ml_task_run_oldest_active_start_timestamp_seconds)
- record: transform_task_type:glue_ml_task_run_duration_seconds:p95
  expr: |-
    histogram_quantile(
      0.95,
      max by (transform_id, task_type, le) (glue_ml_task_run_duration_seconds_bucket{status="SUCCEEDED"})
    )
    and on (transform_id, task_type)
    max by (transform_id, task_type) (glue_ml_task_run_duration_seconds_count{status="SUCCEEDED"}) >= {{ int64 $t.slowRuns }}
- record: transform_task_type:glue_ml_task_runs_finished:failure_ratio
  expr: |-
    sum by (transform_id, task_type) (
      increase(glue_ml_task_runs_finished_total{status=~"FAILED|TIMEOUT"}[{{ $t.failureRatioWindow }}])
    )
    /
    (sum by (transform_id, task_type) (increase(glue_ml_task_runs_finished_total{status=~"SUCCEEDED|FAILED|TIMEOUT"}[{{ $t.failureRatioWindow }}])) > 0)
    and on (transform_id, task_type)
    max by (transform_id, task_type) (sum without (status) (increase(glue_ml_task_runs_finished_total{status=~"SUCCEEDED|FAILED|TIMEOUT"}[{{ $t.failureRatioWindow }}]))) >= {{ int64 $t.failureRatioRuns }}
{{- if not (has "GlueMLTaskRunFailed" .disabled) }}
- alert: GlueMLTaskRunFailed
  expr: |-
    (
      transform_task_type_status:glue_ml_task_runs_finished:increase{status="FAILED"} > 0
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: A {{ "{{" }} $labels.task_type }} run of {{ "{{" }} $labels.transform_name }} failed.
    description: '{{ "{{" }} $value | printf "%.0f" }} {{ "{{" }} $labels.task_type }} run(s) of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) failed within {{ $t.window }}.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLTaskRunFailed.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLTaskRunFailedSinceSuccess" .disabled) }}
- alert: GlueMLTaskRunFailedSinceSuccess
  expr: |-
    (
      transform_task_type_status:glue_ml_task_run_last_failure_timestamp_seconds:max{status="FAILED"} > time() - {{ include "glue-ml-exporter.seconds" $t.unrecoveredAtMost }}
      unless on (transform_id, task_type)
      transform_task_type:glue_ml_task_run_last_success_timestamp_seconds:max >= on (transform_id, task_type) transform_task_type_status:glue_ml_task_run_last_failure_timestamp_seconds:max{status="FAILED"}
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  labels:
    severity: critical
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: '{{ "{{" }} $labels.transform_name }} has had no successful {{ "{{" }} $labels.task_type }} run since one failed.'
    description: The {{ "{{" }} $labels.task_type }} run of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) that failed at {{ "{{" }} $value | humanizeTimestamp }} was not followed by one that succeeded.
    runbook_url: {{ $t.runbookUrl }}/GlueMLTaskRunFailedSinceSuccess.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLTaskRunTimedOut" .disabled) }}
- alert: GlueMLTaskRunTimedOut
  expr: |-
    (
      transform_task_type_status:glue_ml_task_runs_finished:increase{status="TIMEOUT"} > 0
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: A {{ "{{" }} $labels.task_type }} run of {{ "{{" }} $labels.transform_name }} timed out.
    description: '{{ "{{" }} $value | printf "%.0f" }} {{ "{{" }} $labels.task_type }} run(s) of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) timed out within {{ $t.window }}.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLTaskRunTimedOut.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLTaskRunTimedOutSinceSuccess" .disabled) }}
- alert: GlueMLTaskRunTimedOutSinceSuccess
  expr: |-
    (
      transform_task_type_status:glue_ml_task_run_last_failure_timestamp_seconds:max{status="TIMEOUT"} > time() - {{ include "glue-ml-exporter.seconds" $t.unrecoveredAtMost }}
      unless on (transform_id, task_type)
      transform_task_type:glue_ml_task_run_last_success_timestamp_seconds:max >= on (transform_id, task_type) transform_task_type_status:glue_ml_task_run_last_failure_timestamp_seconds:max{status="TIMEOUT"}
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  labels:
    severity: critical
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: '{{ "{{" }} $labels.transform_name }} has had no successful {{ "{{" }} $labels.task_type }} run since one timed out.'
    description: The {{ "{{" }} $labels.task_type }} run of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) that timed out at {{ "{{" }} $value | humanizeTimestamp }} was not followed by one that succeeded.
    runbook_url: {{ $t.runbookUrl }}/GlueMLTaskRunTimedOutSinceSuccess.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLTaskRunNoSuccess" .disabled) }}
- alert: GlueMLTaskRunNoSuccess
  expr: |-
    (
      time() - transform_task_type:glue_ml_task_run_last_success_timestamp_seconds:max{task_type=~"{{ join "|" $t.noSuccessTaskTypes }}"} > {{ include "glue-ml-exporter.seconds" $t.noSuccessFor }}
      or
      (
        time()
        - max by (transform_id, task_type) (
          glue_ml_task_run_last_start_timestamp_seconds{task_type=~"{{ join "|" $t.noSuccessTaskTypes }}"} offset {{ $t.noSuccessFor }}
        )
        unless on (transform_id, task_type)
        transform_task_type:glue_ml_task_run_last_success_timestamp_seconds:max
        and on (transform_id)
        glue_ml_transform_last_successful_poll_timestamp_seconds
      )
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: '{{ "{{" }} $labels.transform_name }} has had no successful {{ "{{" }} $labels.task_type }} run for {{ $t.noSuccessFor }}.'
    description: No {{ "{{" }} $labels.task_type }} run of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) has succeeded for {{ "{{" }} $value | humanizeDuration }}.
    runbook_url: {{ $t.runbookUrl }}/GlueMLTaskRunNoSuccess.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLTaskRunActiveTooLong" .disabled) }}
- alert: GlueMLTaskRunActiveTooLong
  expr: |-
    (
      transform_task_type:glue_ml_task_run_active_seconds:max > {{ include "glue-ml-exporter.seconds" $t.activeFor }}
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  keep_firing_for: {{ $t.exporterDownFor }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: A {{ "{{" }} $labels.task_type }} run of {{ "{{" }} $labels.transform_name }} has been active for over {{ $t.activeFor }}.
    description: A {{ "{{" }} $labels.task_type }} run of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) was started {{ "{{" }} $value | humanizeDuration }} ago and has not ended.
    runbook_url: {{ $t.runbookUrl }}/GlueMLTaskRunActiveTooLong.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLTaskRunSlow" .disabled) }}
- alert: GlueMLTaskRunSlow
  expr: |-
    (
      transform_task_type:glue_ml_task_run_active_seconds:max
      > on (transform_id, task_type)
      clamp_min({{ $t.slowFactor }} * transform_task_type:glue_ml_task_run_duration_seconds:p95, {{ include "glue-ml-exporter.seconds" $t.slowAtLeast }})
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  keep_firing_for: {{ $t.exporterDownFor }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: A {{ "{{" }} $labels.task_type }} run of {{ "{{" }} $labels.transform_name }} takes much longer than usual.
    description: 'A {{ "{{" }} $labels.task_type }} run of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) has been active for {{ "{{" }} $value | humanizeDuration }}: over {{ $t.slowFactor }} times as long as 95 % of its successful runs took.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLTaskRunSlow.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLTaskRunFailureRatio" .disabled) }}
- alert: GlueMLTaskRunFailureRatio
  expr: |-
    (
      transform_task_type:glue_ml_task_runs_finished:failure_ratio > {{ $t.failureRatio }}
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: Many {{ "{{" }} $labels.task_type }} runs of {{ "{{" }} $labels.transform_name }} fail.
    description: '{{ "{{" }} $value | humanizePercentage }} of the {{ "{{" }} $labels.task_type }} runs of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) within {{ $t.failureRatioWindow }} failed or timed out.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLTaskRunFailureRatio.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLPrecisionDropped" .disabled) }}
- alert: GlueMLPrecisionDropped
  expr: |-
    (
      max by (transform_id) (max_over_time(glue_ml_transform_precision_ratio[{{ $t.qualityWindow }}]))
      - max by (transform_id) (glue_ml_transform_precision_ratio)
      > {{ $t.qualityDrop }}
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  keep_firing_for: {{ $t.exporterDownFor }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: The precision of {{ "{{" }} $labels.transform_name }} has dropped.
    description: The precision of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) is {{ "{{" }} $value | humanizePercentage }} points below its best within {{ $t.qualityWindow }}.
    runbook_url: {{ $t.runbookUrl }}/GlueMLPrecisionDropped.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLRecallDropped" .disabled) }}
- alert: GlueMLRecallDropped
  expr: |-
    (
      max by (transform_id) (max_over_time(glue_ml_transform_recall_ratio[{{ $t.qualityWindow }}]))
      - max by (transform_id) (glue_ml_transform_recall_ratio)
      > {{ $t.qualityDrop }}
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  keep_firing_for: {{ $t.exporterDownFor }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: The recall of {{ "{{" }} $labels.transform_name }} has dropped.
    description: The recall of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) is {{ "{{" }} $value | humanizePercentage }} points below its best within {{ $t.qualityWindow }}.
    runbook_url: {{ $t.runbookUrl }}/GlueMLRecallDropped.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLTransformNotReady" .disabled) }}
- alert: GlueMLTransformNotReady
  expr: |-
    (
      max by (transform_id) (glue_ml_transform_status{status="READY"}) == 0
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  for: {{ $t.notReadyFor }}
  keep_firing_for: {{ $t.exporterDownFor }}
  labels:
    severity: info
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: '{{ "{{" }} $labels.transform_name }} is not READY.'
    description: '{{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) has not been READY for {{ $t.notReadyFor }}: it cannot find matches.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLTransformNotReady.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLTransformDown" .disabled) }}
- alert: GlueMLTransformDown
  expr: |-
    (
      max by (transform_id) (glue_ml_transform_up) == 0
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  for: {{ $t.transformDownFor }}
  keep_firing_for: {{ $t.exporterDownFor }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: '{{ "{{" }} $labels.transform_name }} cannot be polled.'
    description: Every poll of {{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) has failed for {{ $t.transformDownFor }}. The exporter's log has the reason.
    runbook_url: {{ $t.runbookUrl }}/GlueMLTransformDown.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- if not (has "GlueMLDataStale" .disabled) }}
- alert: GlueMLDataStale
  expr: |-
    (
      time() - max by (transform_id) (
        max_over_time(glue_ml_transform_last_successful_poll_timestamp_seconds[1d])
      ) > {{ include "glue-ml-exporter.seconds" $t.dataAge }}
      and on (transform_id)
      glue_ml_transform_info
    )
    * on (transform_id) group_left (transform_name, aws_account, aws_region{{ range $t.joinedLabels }}, {{ . }}{{ end }})
    transform:glue_ml_transform_info:latest
  keep_firing_for: {{ $t.exporterDownFor }}
  labels:
    severity: critical
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: What is known about {{ "{{" }} $labels.transform_name }} is out of date.
    description: '{{ "{{" }} $labels.transform_name }} ({{ "{{" }} $labels.transform_id }}, {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}) was last polled successfully {{ "{{" }} $value | humanizeDuration }} ago. Nobody would hear of a failed run now.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLDataStale.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-transform?var-account={{ "{{" }} $labels.aws_account | urlquery }}&var-region={{ "{{" }} $labels.aws_region | urlquery }}&var-transform={{ "{{" }} $labels.transform_id | urlquery }}
{{- end }}
{{- end }}
{{- define "glue-ml-exporter.rules.glue-ml-exporter" -}}
{{- $t := .thresholds -}}
{{- if not (has "GlueMLExporterDown" .disabled) }}
- alert: GlueMLExporterDown
  expr: up{job="{{ $t.job }}"} == 0
  for: {{ $t.exporterDownFor }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: The exporter {{ "{{" }} $labels.instance }} cannot be scraped.
    description: Every scrape of the exporter {{ "{{" }} $labels.instance }} has failed for {{ $t.exporterDownFor }}.
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterDown.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterAbsent" .disabled) }}
- alert: GlueMLExporterAbsent
  expr: absent(up{job="{{ $t.job }}"} == 1)
  for: {{ $t.exporterDownFor }}
  labels:
    severity: critical
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: No Glue ML exporter is up.
    description: Prometheus has scraped no exporter of job {{ $t.job }} for {{ $t.exporterDownFor }}. Nobody would hear of a failed run now.
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterAbsent.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterCredentialsFailing" .disabled) }}
- alert: GlueMLExporterCredentialsFailing
  expr: |-
    max by (aws_account, aws_region, reason) (
      increase(glue_ml_exporter_poll_errors_total{reason=~"AccessDeniedException|ExpiredTokenException|IncompleteSignature|InvalidClientTokenId|InvalidIdentityToken|InvalidSignatureException|MissingAuthenticationToken|RequestExpired|UnrecognizedClientException|credentials"}[{{ $t.errorWindow }}])
    ) > 0
  for: {{ $t.errorFor }}
  labels:
    severity: critical
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: AWS refuses the exporter's credentials for {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}.
    description: Polls of {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }} have been refused with {{ "{{" }} $labels.reason }} for {{ $t.errorFor }}.
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterCredentialsFailing.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterDiscoveryFailing" .disabled) }}
- alert: GlueMLExporterDiscoveryFailing
  expr: max by (aws_account, aws_region) (glue_ml_exporter_discovery_up) == 0
  for: {{ $t.errorFor }}
  keep_firing_for: {{ $t.exporterDownFor }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: The exporter cannot look for transforms in {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}.
    description: 'Every search for transforms in {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }} has failed for {{ $t.errorFor }}: new transforms are not watched.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterDiscoveryFailing.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterWatchesNothing" .disabled) }}
- alert: GlueMLExporterWatchesNothing
  expr: |-
    absent(glue_ml_transform_info)
    and on ()
    up{job="{{ $t.job }}"} == 1
  for: {{ $t.exporterDownFor }}
  labels:
    severity: critical
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: The Glue ML exporter watches no transform.
    description: No exporter of job {{ $t.job }} has watched any transform for {{ $t.exporterDownFor }}. Nobody would hear of a failed run now.
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterWatchesNothing.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterThrottled" .disabled) }}
- alert: GlueMLExporterThrottled
  expr: |-
    sum by (aws_account, aws_region) (rate(glue_ml_exporter_api_requests_total{code="ThrottlingException"}[{{ $t.window }}]))
    /
    sum by (aws_account, aws_region) (rate(glue_ml_exporter_api_requests_total[{{ $t.window }}]))
    > {{ $t.throttledRatio }}
  for: {{ $t.throttledFor }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: AWS throttles the exporter in {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }}.
    description: '{{ "{{" }} $value | humanizePercentage }} of the requests to {{ "{{" }} $labels.aws_account }} {{ "{{" }} $labels.aws_region }} have been throttled for {{ $t.throttledFor }}.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterThrottled.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterCycleOverruns" .disabled) }}
- alert: GlueMLExporterCycleOverruns
  expr: round(increase(glue_ml_exporter_poll_cycle_overruns_total[{{ $t.overrunsWindow }}])) > {{ int64 $t.overruns }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: The exporter {{ "{{" }} $labels.instance }} does not manage its polls within the interval.
    description: '{{ "{{" }} $value | printf "%.0f" }} poll cycles of the exporter {{ "{{" }} $labels.instance }} within {{ $t.overrunsWindow }} took longer than the polling interval.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterCycleOverruns.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterConfigReloadFailed" .disabled) }}
- alert: GlueMLExporterConfigReloadFailed
  expr: max_over_time(glue_ml_exporter_config_last_reload_successful[5m]) == 0
  for: {{ $t.reloadFailedFor }}
  labels:
    severity: warning
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: The exporter {{ "{{" }} $labels.instance }} could not load its configuration.
    description: 'The exporter {{ "{{" }} $labels.instance }} has run with its old configuration for {{ $t.reloadFailedFor }}: the new one has errors.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterConfigReloadFailed.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterStateNotWritten" .disabled) }}
- alert: GlueMLExporterStateNotWritten
  expr: increase(glue_ml_exporter_state_write_errors_total[{{ $t.errorWindow }}]) > 0
  for: {{ $t.errorFor }}
  labels:
    severity: critical
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: The exporter {{ "{{" }} $labels.instance }} cannot write its state file.
    description: Writes to the state file of the exporter {{ "{{" }} $labels.instance }} have failed for {{ $t.errorFor }}. Its counters stand still until it can be written again.
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterStateNotWritten.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterShardMissing" .disabled) }}
- alert: GlueMLExporterShardMissing
  expr: |-
    max by (namespace, service, job) (glue_ml_exporter_shards)
    - count by (namespace, service, job) (count by (namespace, service, job, index) (glue_ml_exporter_shard_info))
    > 0
  for: {{ $t.shardMissingFor }}
  labels:
    severity: critical
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: A shard of the exporter is missing.
    description: '{{ "{{" }} $value | printf "%.0f" }} of the shards of job {{ "{{" }} $labels.job }} could not be scraped for {{ $t.shardMissingFor }}. Nobody would hear of a failed run of their transforms now.'
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterShardMissing.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- if not (has "GlueMLExporterShardMismatch" .disabled) }}
- alert: GlueMLExporterShardMismatch
  expr: |-
    count by (namespace, service, job) (count by (namespace, service, job, count) (glue_ml_exporter_shard_info)) > 1
    or
    max by (namespace, service, job) (count by (namespace, service, job, index) (glue_ml_exporter_shard_info)) > min by (namespace, service, job) (count by (namespace, service, job, index) (glue_ml_exporter_shard_info))
  for: {{ $t.shardMismatchFor }}
  labels:
    severity: critical
{{- with .alertLabels }}
{{ toYaml . | indent 4 }}
{{- end }}
  annotations:
    summary: The shards of the exporter do not fit together.
    description: For {{ $t.shardMismatchFor }} the exporters of job {{ "{{" }} $labels.job }} have disagreed on how many shards there are, or one shard has run more often than another. Transforms are watched twice, or not at all.
    runbook_url: {{ $t.runbookUrl }}/GlueMLExporterShardMismatch.md
    dashboard_url: {{ $t.dashboardUrl }}/glue-ml-exporter
{{- end }}
{{- end }}
