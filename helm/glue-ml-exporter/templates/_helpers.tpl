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

{{- /* Whether the StatefulSet makes the volumes: it alone can give each shard its own. */ -}}
{{- define "glue-ml-exporter.claimTemplates" -}}
{{- if and .Values.persistence.enabled (gt (int .Values.shards) 1) -}}true{{- end -}}
{{- end -}}

{{- define "glue-ml-exporter.claimName" -}}
{{- default (printf "state-%s-0" (include "glue-ml-exporter.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{- define "glue-ml-exporter.claim" -}}
accessModes:
  {{- toYaml .Values.persistence.accessModes | nindent 2 }}
{{- with .Values.persistence.storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size }}
{{- end -}}

{{- /* The path of the pages at an ingress or a gateway. The exporter serves all paths below it too. */ -}}
{{- define "glue-ml-exporter.path" -}}
{{- $url := urlParse .Values.web.externalUrl -}}
{{- default "/" (trimSuffix "/" $url.path) -}}
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

{{- /* The kind of the object that starts scrapes, for the operator that reads it. */ -}}
{{- define "glue-ml-exporter.monitor" -}}
{{- $victoria := eq .operator "victoriametrics" -}}
{{- $monitor := .root.Values.serviceMonitor -}}
{{- $pods := eq .role "Pod" -}}
{{- if $victoria }}
apiVersion: operator.victoriametrics.com/v1beta1
kind: VM{{ .role }}Scrape
{{- else }}
apiVersion: monitoring.coreos.com/v1
kind: {{ .role }}Monitor
{{- end }}
metadata:
  name: {{ include "glue-ml-exporter.fullname" .root }}
  namespace: {{ default .root.Release.Namespace $monitor.namespace }}
  labels:
    {{- include "glue-ml-exporter.labels" .root | nindent 4 }}
    {{- with $monitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  namespaceSelector:
    matchNames: [{{ .root.Release.Namespace }}]
  selector:
    matchLabels:
      {{- include "glue-ml-exporter.selectorLabels" .root | nindent 6 }}
      {{- if not $pods }}
      app.kubernetes.io/component: metrics
      {{- end }}
  {{- with $monitor.jobLabel }}
  jobLabel: {{ . }}
  {{- end }}
  {{- with $monitor.targetLabels }}
  {{ ternary "podTargetLabels" "targetLabels" $pods }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not $victoria }}
  {{- with $monitor.scrapeProtocols }}
  scrapeProtocols:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- range $limit := list "sampleLimit" "labelLimit" "labelNameLengthLimit" "labelValueLengthLimit" }}
  {{- with get $monitor $limit }}
  {{ $limit }}: {{ int64 . }}
  {{- end }}
  {{- end }}
  {{ ternary "podMetricsEndpoints" "endpoints" $pods }}:
    - port: metrics
      path: {{ .root.Values.web.telemetryPath }}
      scheme: {{ include "glue-ml-exporter.scheme" .root }}
      interval: {{ $monitor.interval }}
      scrapeTimeout: {{ $monitor.scrapeTimeout }}
      honorLabels: {{ $monitor.honorLabels }}
      {{- with $monitor.proxyUrl }}
      {{ ternary "proxyURL" "proxyUrl" $victoria }}: {{ . }}
      {{- end }}
      {{ ternary "relabelConfigs" "relabelings" $victoria }}:
        # A new pod goes on with the series of the old one, on any node.
        - sourceLabels: [__meta_kubernetes_pod_name]
          targetLabel: instance
          replacement: {{ .root.Release.Namespace }}/$1
        - action: labeldrop
          regex: pod
        {{- if not $monitor.jobLabel }}
        # The name that the rules look for.
        - targetLabel: job
          replacement: {{ .root.Values.prometheusRule.selector.job }}
        {{- end }}
        {{- if $pods }}
        # The rules know a release by its namespace and Service. A target that is found by its pod has no such label.
        - targetLabel: service
          replacement: {{ include "glue-ml-exporter.fullname" .root }}
        {{- end }}
        {{- with $monitor.relabelings }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $monitor.metricRelabelings }}
      {{ ternary "metricRelabelConfigs" "metricRelabelings" $victoria }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- range $key := list "tlsConfig" "basicAuth" "authorization" }}
      {{- with get $monitor $key }}
      {{ $key }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
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
{{- if or .Values.config .Values.existingConfig.secretName .Values.persistence.enabled (gt (int .Values.shards) 1) -}}
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
{{- if eq .Values.monitoringOperator "victoriametrics" -}}
{{- range $limit := list "labelLimit" "labelNameLengthLimit" "labelValueLengthLimit" -}}
{{- if get $.Values.serviceMonitor $limit -}}
{{- fail (printf "serviceMonitor.%s has no effect with VictoriaMetrics, which has no such limit" $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled exclude each other: the exporter would be scraped twice" -}}
{{- end -}}
{{- if and (or .Values.serviceMonitor.enabled .Values.podMonitor.enabled) (not .Values.serviceMonitor.jobLabel) -}}
{{- if not (regexMatch "^[A-Za-z0-9_./:-]+$" (default "" .Values.prometheusRule.selector.job)) -}}
{{- fail "prometheusRule.selector.job is also the job of the targets: set a name without special characters, or serviceMonitor.jobLabel" -}}
{{- end -}}
{{- end -}}
{{- /* A flag of the chart in `extraArgs` would change the exporter, but not its probes and its monitors. */ -}}
{{- $own := dict "--config.file" "config" "--config.enable-auto-reload" "configReload" "--log.level" "logLevel" "--log.format" "logFormat" -}}
{{- $own = merge $own (dict "--shard.count" "shards" "--shard.index" "shards" "--web.listen-address" "service.port") -}}
{{- $own = merge $own (dict "--web.telemetry-path" "web.telemetryPath" "--web.external-url" "web.externalUrl" "--web.config.file" "webConfig") -}}
{{- range $flag, $value := $own -}}
{{- $variable := printf "GLUE_ML_EXPORTER_%s" (trimPrefix "--" $flag | upper | replace "." "_" | replace "-" "_") -}}
{{- range $.Values.extraArgs -}}
{{- if or (eq $flag .) (hasPrefix (printf "%s=" $flag) .) -}}
{{- fail (printf "extraArgs sets %s, which the chart sets: use %s" $flag $value) -}}
{{- end -}}
{{- end -}}
{{- range $.Values.env -}}
{{- if eq .name $variable -}}
{{- fail (printf "env sets %s, which the chart sets: use %s" $variable $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.demo.enabled (or .Values.web.externalUrl (ne .Values.web.telemetryPath "/metrics")) -}}
{{- fail "demo.enabled excludes web.externalUrl and web.telemetryPath: the demo has neither flag" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts, a list of names" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs, the gateways" -}}
{{- end -}}
{{- if .Values.persistence.existingClaim -}}
{{- if not .Values.persistence.enabled -}}
{{- fail "persistence.existingClaim needs persistence.enabled=true" -}}
{{- else if gt (int .Values.shards) 1 -}}
{{- fail "persistence.existingClaim excludes shards: each shard needs its own volume" -}}
{{- end -}}
{{- end -}}
{{- with include "glue-ml-exporter.statePath" . -}}
{{- if not $.Values.persistence.enabled -}}
{{- fail "config.state.path needs persistence.enabled=true: without a volume the file would be lost with the pod" -}}
{{- else if not (hasPrefix "/var/lib/glue-ml-exporter/" .) -}}
{{- fail (printf "config.state.path is %s, which is not on the volume: leave it out, or name a file in /var/lib/glue-ml-exporter" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
