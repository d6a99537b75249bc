{{/* The gateway's chart makes the same name for its URL. */}}
{{- define "s2-lite.fullname" -}}
{{- printf "%s-s2-lite" (.Release.Name | trunc 48 | trimSuffix "-") }}
{{- end }}

{{- define "s2-lite.selectorLabels" -}}
app.kubernetes.io/name: s2-lite
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "s2-lite.labels" -}}
helm.sh/chart: s2-lite-{{ .Chart.Version }}
{{ include "s2-lite.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "s2-lite.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "s2-lite.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* It must have been said where the bytes go: memory is no place to forget to name another. */}}
{{- define "s2-lite.validate" -}}
{{- $places := list }}
{{- if .Values.objectStorage.bucket }}{{ $places = append $places "s2Lite.objectStorage.bucket" }}{{ end }}
{{- if .Values.localRoot.enabled }}{{ $places = append $places "s2Lite.localRoot.enabled" }}{{ end }}
{{- if .Values.inMemory }}{{ $places = append $places "s2Lite.inMemory" }}{{ end }}
{{- if not $places }}
{{- fail "\n\ns2-lite needs a place to write to: s2Lite.objectStorage.bucket, s2Lite.localRoot.enabled or, to try it out, s2Lite.inMemory\n" }}
{{- end }}
{{- if gt (len $places) 1 }}
{{- fail (printf "\n\ns2-lite writes to one place, and %s name several\n" (join ", " $places)) }}
{{- end }}
{{- end }}
