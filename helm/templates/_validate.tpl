{{/*
What each value allows and all together do not: said here in words, not by a pod that does not start.
*/}}
{{- define "gateway.validate" -}}
{{- $problems := list }}
{{- $places := list }}
{{- if .Values.embedded.enabled }}{{ $places = append $places "embedded.enabled" }}{{ end }}
{{- if .Values.s2Lite.enabled }}{{ $places = append $places "s2Lite.enabled" }}{{ end }}
{{- if .Values.s2.endpoint }}{{ $places = append $places "s2.endpoint" }}{{ end }}
{{- if gt (len $places) 1 }}
{{- $problems = append $problems (printf "streams are kept in one place, and %s name several" (join ", " $places)) }}
{{- end }}
{{- $hasToken := or .Values.s2.accessToken .Values.s2.existingSecret }}
{{- if and (not $places) (not $hasToken) }}
{{- $problems = append $problems "managed S2 needs a token: s2.accessToken or s2.existingSecret. Without managed S2: s2Lite.enabled, s2.endpoint or embedded.enabled" }}
{{- end }}
{{- if and (not $places) (not .Values.s2.basin) (ne .Values.tenancy "project") }}
{{- $problems = append $problems "managed S2 needs s2.basin: names of basins are shared with all its users" }}
{{- end }}
{{- if and .Values.embedded.enabled (or $hasToken .Values.s2.basin) }}
{{- $problems = append $problems "embedded.enabled keeps nothing in S2, but s2.accessToken, s2.existingSecret or s2.basin is set" }}
{{- end }}
{{- if and .Values.embedded.enabled .Values.autoscaling.enabled }}
{{- $problems = append $problems "embedded.enabled is one pod: autoscaling.enabled must be false" }}
{{- end }}
{{- if and (eq .Values.tenancy "project") (not .Values.s2.basinPrefix) (not .Values.embedded.enabled) }}
{{- $problems = append $problems "tenancy: project needs s2.basinPrefix: with the project it names a basin" }}
{{- end }}
{{- if and .Values.s2.basinPrefix (ne .Values.tenancy "project") }}
{{- $problems = append $problems "s2.basinPrefix is set, but tenancy is not project" }}
{{- end }}
{{- if eq .Values.auth.mode "none" }}
{{- if or .Values.auth.hs256Secrets .Values.auth.gatewaySecrets .Values.auth.existingSecret (include "gateway.hasPublicKeys" .) }}
{{- $problems = append $problems "auth.mode: none lets everybody in, but there are keys of tokens" }}
{{- end }}
{{- end }}
{{- if and .Values.auth.existingSecret (or .Values.auth.hs256Secrets .Values.auth.gatewaySecrets) }}
{{- $problems = append $problems "auth.existingSecret has the secrets: auth.hs256Secrets and auth.gatewaySecrets must be empty" }}
{{- end }}
{{- if and .Values.s2.existingSecret .Values.s2.accessToken }}
{{- $problems = append $problems "s2.existingSecret has the token: s2.accessToken must be empty" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- $problems = append $problems "httpRoute.enabled needs httpRoute.parentRefs: the Gateway that the route is for" }}
{{- end }}
{{- if and .Values.httpRoute.envoyGateway.enabled (not .Values.httpRoute.enabled) }}
{{- $problems = append $problems "httpRoute.envoyGateway.enabled needs httpRoute.enabled: its policies are for the route" }}
{{- end }}
{{- if and .Values.metrics.enabled (eq (int .Values.metrics.port) 4437) }}
{{- $problems = append $problems "metrics.port is a port of its own: 4437 has the streams" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.metrics.enabled) }}
{{- $problems = append $problems "serviceMonitor.enabled needs metrics.enabled" }}
{{- end }}
{{- if and .Values.prometheusRule.enabled (not .Values.metrics.enabled) }}
{{- $problems = append $problems "prometheusRule.enabled needs metrics.enabled" }}
{{- end }}
{{- if .Values.autoscaling.enabled }}
{{- with .Values.autoscaling }}
{{- if lt (int .maxReplicas) (int .minReplicas) }}
{{- $problems = append $problems "autoscaling.maxReplicas must be at least autoscaling.minReplicas" }}
{{- end }}
{{- if not (or .connectionsPerPod .targetCPUUtilizationPercentage) }}
{{- $problems = append $problems "autoscaling.enabled needs connectionsPerPod or targetCPUUtilizationPercentage" }}
{{- end }}
{{- end }}
{{- end }}
{{- if $problems }}
{{- fail (printf "\n\nThese values can't be used:\n  - %s\n" (join "\n  - " $problems)) }}
{{- end }}
{{- end }}
