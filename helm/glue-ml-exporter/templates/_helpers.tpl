{{- define "glue-ml-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 52 characters: a StatefulSet appends to it, and labels end at 63. */ -}}
{{- define "glue-ml-exporter.fullname" -}}
{{- $name := include "glue-ml-exporter.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* What selects the pod. It can never be changed in a release: nothing here may depend on a version. */ -}}
{{- define "glue-ml-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "glue-ml-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "glue-ml-exporter.testLabels" -}}
app.kubernetes.io/name: {{ include "glue-ml-exporter.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "glue-ml-exporter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "glue-ml-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "glue-ml-exporter.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- $name := printf "%s/%s" $registry .Values.image.repository | trimPrefix "/" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "glue-ml-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "glue-ml-exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "glue-ml-exporter.statePath" -}}
{{- with .Values.config.state }}{{ .path }}{{ end -}}
{{- end -}}

{{- /* The exporter's configuration; with persistence it keeps its state on the volume. */ -}}
{{- define "glue-ml-exporter.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if and .Values.persistence.enabled (not (include "glue-ml-exporter.statePath" .)) -}}
{{- $_ := set $config "state" (dict "path" "/var/lib/glue-ml-exporter/state.db") -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* Whether pods need a name that stays: for a volume, or to know which shard they are. */ -}}
{{- define "glue-ml-exporter.stateful" -}}
{{- if or .Values.persistence.enabled (gt (int .Values.shards) 1) -}}true{{- end -}}
{{- end -}}

{{- define "glue-ml-exporter.hasWebConfig" -}}
{{- if or .Values.webConfig.content .Values.webConfig.existingSecret .Values.webConfig.tlsSecretName -}}true{{- end -}}
{{- end -}}

{{- define "glue-ml-exporter.webConfig" -}}
{{- $content := deepCopy .Values.webConfig.content -}}
{{- if .Values.webConfig.tlsSecretName -}}
{{- $tls := dict "cert_file" "/etc/glue-ml-exporter/tls/tls.crt" "key_file" "/etc/glue-ml-exporter/tls/tls.key" -}}
{{- $_ := set $content "tls_server_config" (merge (default dict $content.tls_server_config) $tls) -}}
{{- end -}}
{{- toYaml $content -}}
{{- end -}}

{{- define "glue-ml-exporter.scheme" -}}
{{- if .Values.webConfig.scheme -}}
{{- .Values.webConfig.scheme -}}
{{- else if or .Values.webConfig.tlsSecretName .Values.webConfig.content.tls_server_config -}}
https
{{- else -}}
http
{{- end -}}
{{- end -}}

{{- /* Whether clients need a certificate: a kubelet has none, and neither has `helm test`. */ -}}
{{- define "glue-ml-exporter.mutualTls" -}}
{{- $tls := default dict .Values.webConfig.content.tls_server_config -}}
{{- if or .Values.probes.tcp (hasPrefix "Require" (default "" $tls.client_auth_type)) -}}true{{- end -}}
{{- end -}}

{{- /* How Prometheus asks: shared by ServiceMonitor and PodMonitor. */ -}}
{{- define "glue-ml-exporter.endpoint" -}}
{{- $monitor := .Values.serviceMonitor -}}
port: metrics
path: /metrics
scheme: {{ include "glue-ml-exporter.scheme" . }}
interval: {{ $monitor.interval }}
scrapeTimeout: {{ $monitor.scrapeTimeout }}
honorLabels: {{ $monitor.honorLabels }}
relabelings:
  # A new pod goes on with the series of the old one, wherever it runs.
  {{- if include "glue-ml-exporter.stateful" . }}
  - sourceLabels: [__meta_kubernetes_pod_name]
    targetLabel: instance
    replacement: {{ .Release.Namespace }}/$1
  {{- else }}
  - targetLabel: instance
    replacement: {{ .Release.Namespace }}/{{ include "glue-ml-exporter.fullname" . }}
  {{- end }}
  - action: labeldrop
    regex: pod
  # The name by which the rules find the exporter.
  - targetLabel: job
    replacement: {{ .Values.prometheusRule.selector.job }}
  {{- with $monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $monitor.tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $monitor.basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* What a scrape may bring at most: shared by ServiceMonitor and PodMonitor. */ -}}
{{- define "glue-ml-exporter.limits" -}}
{{- range $limit := list "sampleLimit" "labelLimit" "labelNameLengthLimit" "labelValueLengthLimit" }}
{{- with get $.Values.serviceMonitor $limit }}
{{ $limit }}: {{ int64 . }}
{{- end }}
{{- end -}}
{{- end -}}

{{- /* A Prometheus duration (1h30m) in seconds. */ -}}
{{- define "glue-ml-exporter.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1 "m" 60 "h" 3600 "d" 86400 "w" 604800 "y" 31536000 -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $seconds = addf $seconds (mulf (trimSuffix $unit . | float64) (get $units $unit)) -}}
{{- end -}}
{{- printf "%.0f" $seconds -}}
{{- end -}}

{{- /* What cannot work is refused with a sentence, before anything is installed. */ -}}
{{- define "glue-ml-exporter.validate" -}}
{{- if .Values.demo.enabled -}}
{{- if or .Values.config .Values.existingConfig.secretName (include "glue-ml-exporter.stateful" .) -}}
{{- fail "demo.enabled excludes config, existingConfig, persistence and shards: the demo watches simulated transforms and keeps nothing" -}}
{{- end -}}
{{- if include "glue-ml-exporter.hasWebConfig" . -}}
{{- fail "demo.enabled excludes webConfig: the demo has no TLS and no users" -}}
{{- end -}}
{{- else if and .Values.config .Values.existingConfig.secretName -}}
{{- fail "config and existingConfig.secretName exclude each other" -}}
{{- else if not (or .Values.existingConfig.secretName .Values.config.transforms .Values.config.discovery) -}}
{{- fail "there is nothing to watch: set config.region and config.transforms or config.discovery, or existingConfig.secretName, or, to look around, demo.enabled=true" -}}
{{- end -}}
{{- if and .Values.webConfig.content .Values.webConfig.existingSecret -}}
{{- fail "webConfig.content and webConfig.existingSecret exclude each other" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled exclude each other: the exporter would be scraped twice" -}}
{{- end -}}
{{- with include "glue-ml-exporter.statePath" . -}}
{{- if not $.Values.persistence.enabled -}}
{{- fail "config.state.path needs persistence.enabled=true: without a volume the file would be lost with the pod" -}}
{{- else if not (hasPrefix "/var/lib/glue-ml-exporter/" .) -}}
{{- fail (printf "config.state.path is %s, which is not on the volume: leave it away, or name a file in /var/lib/glue-ml-exporter" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
