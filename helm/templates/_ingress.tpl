{{/*
What each controller needs so that events pass as they come, quiet connections stay (the gateway
sends a heartbeat every 15 s and answers a long-poll after 20), and, if `routeByStream`, requests for
one path go to one pod. The query must not count: it has the offset.
*/}}
{{- define "gateway.ingressAnnotations" -}}
{{- $byStream := .Values.routeByStream.enabled }}
{{- $subset := int .Values.routeByStream.subsetSize }}
{{- $leaving := include "gateway.terminationGracePeriodSeconds" . }}
{{- with .Values.ingress.controller }}
{{- if eq . "ingress-nginx" }}
nginx.ingress.kubernetes.io/proxy-buffering: "off"
nginx.ingress.kubernetes.io/proxy-read-timeout: "75"
nginx.ingress.kubernetes.io/proxy-send-timeout: "75"
# The gateway has limits of its own.
nginx.ingress.kubernetes.io/proxy-body-size: "0"
{{- if $byStream }}
# The path as nginx has normalized it, without the query.
nginx.ingress.kubernetes.io/upstream-hash-by: "$uri"
{{- if $subset }}
nginx.ingress.kubernetes.io/upstream-hash-by-subset: "true"
nginx.ingress.kubernetes.io/upstream-hash-by-subset-size: {{ $subset | quote }}
{{- end }}
{{- end }}
{{- else if eq . "nginx" }}
nginx.org/proxy-buffering: "False"
nginx.org/proxy-read-timeout: "75s"
nginx.org/proxy-send-timeout: "75s"
nginx.org/client-max-body-size: "0"
{{- if $byStream }}
nginx.org/lb-method: "hash $uri consistent"
{{- end }}
{{- else if eq . "haproxy" }}
haproxy.org/timeout-server: "75s"
{{- if $byStream }}
# HTTP/2 requests have the host in their URI, and others do not: path-only makes them alike.
haproxy.org/backend-config-snippet: |
  balance uri path-only
  hash-type consistent
{{- end }}
{{- else if eq . "haproxy-ingress" }}
haproxy-ingress.github.io/timeout-server: "75s"
haproxy-ingress.github.io/proxy-body-size: unlimited
{{- if $byStream }}
haproxy-ingress.github.io/balance-algorithm: uri path-only
haproxy-ingress.github.io/config-backend: |
  hash-type consistent
{{- end }}
{{- else if eq . "alb" }}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/healthcheck-path: /readyz
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds=75
# Connections live long: who has the fewest takes the next one.
alb.ingress.kubernetes.io/target-group-attributes: deregistration_delay.timeout_seconds={{ $leaving }},load_balancing.algorithm.type=least_outstanding_requests
{{- end }}
{{- end }}
{{- end }}
