{{/*
The gateway's environment. Whole numbers are written as such: to a template they are floating point,
and 16777216 would become 1.6777216e+07.
*/}}
{{- define "gateway.environment" -}}
{{- $set := dict "HOST" .Values.listenAddress "PORT" "4437" "SHUTDOWN_GRACE_MS" .Values.shutdown.graceMs }}
{{- if .Values.metrics.enabled }}
{{- $_ := set $set "METRICS_PORT" .Values.metrics.port }}
{{- else }}
{{- $_ := set $set "METRICS" "off" }}
{{- end }}
{{- $_ := set $set "AUTH" .Values.auth.mode }}
{{- if .Values.embedded.enabled }}
{{- $_ := set $set "DATA_DIR" "/data" }}
{{- else }}
{{- if .Values.s2Lite.enabled }}
{{- $_ := set $set "S2_ENDPOINT" (include "gateway.s2LiteUrl" .) }}
{{- /* Nobody sends a bill for it. */}}
{{- $_ := set $set "S2_PRICES" "none" }}
{{- else if .Values.s2.endpoint }}
{{- $_ := set $set "S2_ENDPOINT" .Values.s2.endpoint }}
{{- end }}
{{- with .Values.s2.basin }}
{{- $_ := set $set "S2_BASIN" . }}
{{- end }}
{{- end }}
{{- if eq .Values.tenancy "project" }}
{{- $_ := set $set "TENANCY" "project" }}
{{- with .Values.s2.basinPrefix }}
{{- $_ := set $set "S2_BASIN_PREFIX" . }}
{{- end }}
{{- end }}
{{- $variables := merge (dict) .Values.config $set }}
{{- range $name, $value := $variables }}
- name: {{ $name }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- if or .Values.s2.accessToken .Values.s2.existingSecret }}
- name: S2_ACCESS_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "gateway.s2SecretName" . }}
      key: {{ ternary "S2_ACCESS_TOKEN" .Values.s2.existingSecretKey (empty .Values.s2.existingSecret) }}
{{- end }}
{{- if eq .Values.auth.mode "jwt" }}
{{- range list "JWT_HS256_SECRETS" "JWT_HS384_SECRETS" "JWT_HS512_SECRETS" "GATEWAY_SECRETS" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ include "gateway.authSecretName" $ }}
      key: {{ . }}
      optional: true
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
