{{- /* The template of the pods. */ -}}
{{- define "glue-ml-exporter.pod" -}}
metadata:
  annotations:
    kubectl.kubernetes.io/default-container: exporter
    {{- if and (eq .Values.configReload "restart") .Values.config }}
    checksum/config: {{ include "glue-ml-exporter.config" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "glue-ml-exporter.selectorLabels" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "glue-ml-exporter.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "glue-ml-exporter.podSecurityContext" . | nindent 4 }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{- toYaml . | nindent 6 }}
      {{- if not .labelSelector }}
      labelSelector:
        matchLabels:
          {{- include "glue-ml-exporter.selectorLabels" $ | nindent 10 }}
      {{- end }}
    {{- end }}
  {{- end }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: exporter
      image: {{ include "glue-ml-exporter.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - {{ ternary "demo" "serve" .Values.demo.enabled }}
        - --web.listen-address=:10210
        - --log.level={{ .Values.logLevel }}
        - --log.format={{ .Values.logFormat }}
        {{- if not .Values.demo.enabled }}
        {{- if eq .Values.configReload "auto" }}
        - --config.enable-auto-reload
        {{- end }}
        {{- if gt (int .Values.shards) 1 }}
        - --shard.count={{ int .Values.shards }}
        {{- end }}
        - --web.telemetry-path={{ .Values.web.telemetryPath }}
        {{- with .Values.web.externalUrl }}
        - --web.external-url={{ . }}
        {{- end }}
        {{- end }}
        {{- if include "glue-ml-exporter.hasWebConfig" . }}
        - --web.config.file=/etc/glue-ml-exporter/web/web-config.yml
        {{- end }}
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with include "glue-ml-exporter.env" . }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with .Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: metrics
          containerPort: 10210
          protocol: TCP
      {{- range $probe, $path := dict "startupProbe" "/-/healthy" "livenessProbe" "/-/healthy" "readinessProbe" "/-/ready" }}
      {{- if get $.Values.probes (trimSuffix "Probe" $probe) }}
      {{ $probe }}:
        {{- if include "glue-ml-exporter.mutualTls" $ }}
        tcpSocket:
          port: metrics
        {{- else }}
        httpGet:
          path: {{ $path }}
          port: metrics
          scheme: {{ include "glue-ml-exporter.scheme" $ | upper }}
        {{- end }}
        {{- toYaml (get $.Values.probes (trimSuffix "Probe" $probe)) | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "glue-ml-exporter.mounts" . | nindent 8 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "glue-ml-exporter.volumes" . | nindent 4 }}
{{- end -}}

{{- /* `kubectl exec ... glue-ml-exporter runs X` finds the configuration by the variable. */ -}}
{{- define "glue-ml-exporter.env" -}}
{{- $env := list -}}
{{- if not .Values.demo.enabled -}}
{{- $env = append $env (dict "name" "GLUE_ML_EXPORTER_CONFIG_FILE" "value" "/etc/glue-ml-exporter/config/config.yaml") -}}
{{- end -}}
{{- with .Values.aws.existingSecret -}}
{{- $keys := dict "AWS_ACCESS_KEY_ID" "access_key" "AWS_SECRET_ACCESS_KEY" "secret_key" "AWS_SESSION_TOKEN" "security_token" -}}
{{- range $name, $key := $keys -}}
{{- $ref := dict "name" $.Values.aws.existingSecret "key" $key -}}
{{- if eq $key "security_token" }}{{ $_ := set $ref "optional" true }}{{ end -}}
{{- $env = append $env (dict "name" $name "valueFrom" (dict "secretKeyRef" $ref)) -}}
{{- end -}}
{{- end -}}
{{- with concat $env .Values.env }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* OpenShift gives each namespace its own range of user ids, and refuses a pod with another one. */ -}}
{{- define "glue-ml-exporter.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{- /* Folders, not files: a file that is mounted alone never changes. */ -}}
{{- define "glue-ml-exporter.mounts" -}}
{{- $mounts := list -}}
{{- if not .Values.demo.enabled -}}
{{- $mounts = append $mounts (dict "name" "config" "mountPath" "/etc/glue-ml-exporter/config" "readOnly" true) -}}
{{- end -}}
{{- if include "glue-ml-exporter.hasWebConfig" . -}}
{{- $mounts = append $mounts (dict "name" "web" "mountPath" "/etc/glue-ml-exporter/web" "readOnly" true) -}}
{{- end -}}
{{- if .Values.webConfig.tlsSecretName -}}
{{- $mounts = append $mounts (dict "name" "tls" "mountPath" "/etc/glue-ml-exporter/tls" "readOnly" true) -}}
{{- end -}}
{{- if .Values.persistence.enabled -}}
{{- $mounts = append $mounts (dict "name" "state" "mountPath" "/var/lib/glue-ml-exporter") -}}
{{- end -}}
{{- toYaml (default list (concat $mounts .Values.extraVolumeMounts)) -}}
{{- end -}}

{{- define "glue-ml-exporter.volumes" -}}
{{- $fullname := include "glue-ml-exporter.fullname" . -}}
{{- $volumes := list -}}
{{- if .Values.existingConfig.secretName -}}
{{- $items := list (dict "key" .Values.existingConfig.key "path" "config.yaml") -}}
{{- $secret := dict "secretName" .Values.existingConfig.secretName "items" $items "defaultMode" 288 -}}
{{- $volumes = append $volumes (dict "name" "config" "secret" $secret) -}}
{{- else if not .Values.demo.enabled -}}
{{- $volumes = append $volumes (dict "name" "config" "configMap" (dict "name" $fullname)) -}}
{{- end -}}
{{- if include "glue-ml-exporter.hasWebConfig" . -}}
{{- $name := default (printf "%s-web" $fullname) .Values.webConfig.existingSecret -}}
{{- $key := ternary .Values.webConfig.existingSecretKey "web-config.yml" (not (empty .Values.webConfig.existingSecret)) -}}
{{- $items := list (dict "key" $key "path" "web-config.yml") -}}
{{- $volumes = append $volumes (dict "name" "web" "secret" (dict "secretName" $name "items" $items "defaultMode" 288)) -}}
{{- end -}}
{{- if and .Values.persistence.enabled (not (include "glue-ml-exporter.claimTemplates" .)) -}}
{{- $claim := dict "claimName" (include "glue-ml-exporter.claimName" .) -}}
{{- $volumes = append $volumes (dict "name" "state" "persistentVolumeClaim" $claim) -}}
{{- end -}}
{{- with .Values.webConfig.tlsSecretName -}}
{{- $volumes = append $volumes (dict "name" "tls" "secret" (dict "secretName" . "defaultMode" 288)) -}}
{{- end -}}
{{- toYaml (default list (concat $volumes .Values.extraVolumes)) -}}
{{- end -}}
