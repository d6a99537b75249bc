{{/* Names and labels that several objects share. */}}

{{- define "gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what is put behind it. */}}
{{- define "gateway.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "gateway.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "gateway.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The Secrets of this release, or those that were made before. */}}
{{- define "gateway.authSecretName" -}}
{{- default (printf "%s-auth" (include "gateway.fullname" .)) .Values.auth.existingSecret }}
{{- end }}

{{- define "gateway.s2SecretName" -}}
{{- default (printf "%s-s2" (include "gateway.fullname" .)) .Values.s2.existingSecret }}
{{- end }}

{{/* Where the other chart's templates put s2-lite. */}}
{{- define "gateway.s2LiteUrl" -}}
http://{{ .Release.Name | trunc 48 | trimSuffix "-" }}-s2-lite:{{ .Values.s2Lite.service.port }}
{{- end }}

{{/* The port that a URL names, or that of its scheme. */}}
{{- define "gateway.portOf" -}}
{{- $url := urlParse . }}
{{- default (ternary "443" "80" (eq $url.scheme "https")) (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host)) }}
{{- end }}

{{/* Not empty when this release makes a Secret with the keys of tokens. */}}
{{- define "gateway.makesAuthSecret" -}}
{{- if and (eq .Values.auth.mode "jwt") (not .Values.auth.existingSecret) }}true{{ end }}
{{- end }}

{{/* Not empty when tokens are signed by somebody whose public keys `config` names. */}}
{{- define "gateway.hasPublicKeys" -}}
{{- with .Values.config }}
{{- if or .JWT_PEM_FILES .JWT_JWKS_FILE .JWT_JWKS_URL }}true{{ end }}
{{- end }}
{{- end }}

{{/* Not empty when tokens are signed with a secret of this release. */}}
{{- define "gateway.makesTokenSecret" -}}
{{- if include "gateway.makesAuthSecret" . }}
{{- if or .Values.auth.hs256Secrets (not (include "gateway.hasPublicKeys" .)) }}true{{ end }}
{{- end }}
{{- end }}

{{/*
What one key of a Secret holds, encoded: what was given; else what the cluster has, so that upgrades
keep it; else a random text, 64 characters of 62 kinds.
*/}}
{{- define "gateway.keptSecret" -}}
{{- $secret := lookup "v1" "Secret" .context.Release.Namespace .name | default dict }}
{{- $kept := get (get $secret "data" | default dict) .key }}
{{- if .given }}
{{- join "," .given | b64enc }}
{{- else if $kept }}
{{- $kept }}
{{- else }}
{{- randAlphaNum 64 | b64enc }}
{{- end }}
{{- end }}

{{/* Seconds from the deletion of a pod to its end by force. */}}
{{- define "gateway.terminationGracePeriodSeconds" -}}
{{- $drain := divf .Values.shutdown.graceMs 1000 | ceil | int }}
{{- add .Values.shutdown.preStopSeconds $drain 8 }}
{{- end }}
