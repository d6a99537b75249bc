/**
 * What to change where, for each way in which a deployment may be wrong. Settings are named as their
 * products call them.
 */

export type Where =
  | 'gateway'
  | 'nginx'
  | 'Caddy'
  | 'HAProxy'
  | 'Envoy'
  | 'Traefik'
  | 'Varnish'
  | 'Cloudflare'
  | 'CloudFront'

type Settings = Readonly<Partial<Record<Where | 'all', string>>>

/** `all` holds for whatever is on the way. */
export const REMEDIES = {
  buffering: {
    nginx:
      'proxy_buffering off, or let X-Accel-Buffering through: no proxy_ignore_headers X-Accel-Buffering; proxy_http_version 1.1',
    Caddy: 'reverse_proxy { flush_interval -1 }',
    HAProxy: 'no option http-buffer-request, no compression for text/event-stream',
    Envoy: 'no buffer filter on the route of the streams',
    Traefik: 'no buffering middleware; responseForwarding.flushInterval: 100ms or less',
    Varnish: 'return (pipe) for live=sse in vcl_recv',
    Cloudflare:
      'no tunnel without a name (quick tunnels buffer); Rocket Loader, Mirage and Polish off for the path of the streams',
    CloudFront:
      'a behavior for the path of the streams with compression off; no Lambda@Edge on its responses',
  },
  sseCollapsed: {
    nginx:
      'no proxy_cache for live=sse (proxy_cache_bypass and proxy_no_cache, or a location without it)',
    Varnish: 'return (pipe) for live=sse in vcl_recv',
    CloudFront: 'CachingDisabled for live=sse, or the query string in the cache key',
    all: 'readers of live=sse must not wait for one another: answers of text/event-stream are no-store',
  },
  idleTimeout: {
    gateway: 'or SSE_HEARTBEAT_MS below the shortest idle limit on the way',
    nginx: 'proxy_read_timeout 75s, send_timeout 75s: above SSE_HEARTBEAT_MS',
    Caddy: 'no response_header_timeout or read_timeout below 75s in transport http',
    HAProxy: 'timeout server 75s, timeout client 75s, timeout tunnel 75s',
    Envoy: 'timeout: 0s on the route and stream_idle_timeout: 75s on the listener',
    Traefik: 'respondingTimeouts: writeTimeout 0, idleTimeout 180s',
    Varnish: 'first_byte_timeout and between_bytes_timeout 75s, pipe_timeout 75s',
    Cloudflare: 'its limit is 100 s without a byte: SSE_HEARTBEAT_MS below that',
    CloudFront: 'origin response timeout 60s; SSE_HEARTBEAT_MS below it',
    all: 'load balancers have limits of their own (AWS ALB: idle_timeout.timeout_seconds, 60 s)',
  },
  noHeartbeat: {
    gateway: 'SSE_HEARTBEAT_MS=15000 or less; run again with --idle above it',
    all: 'nothing may hold back comments (lines that begin with a colon)',
  },
  pollTimeout: {
    gateway: 'or LONG_POLL_TIMEOUT_MS below the shortest time-out on the way',
    nginx: 'proxy_read_timeout 75s: above LONG_POLL_TIMEOUT_MS',
    Caddy: 'no response_header_timeout below 75s in transport http',
    HAProxy: 'timeout server 75s, timeout client 75s',
    Envoy: 'timeout: 75s or 0s on the route (15s when left out)',
    Traefik: 'forwardingTimeouts.responseHeaderTimeout 75s; respondingTimeouts.writeTimeout 0',
    Varnish: 'first_byte_timeout 75s',
    CloudFront: 'origin response timeout 60s',
  },
  http2: {
    nginx: 'listen 443 ssl http2 (from 1.25.1: http2 on)',
    Caddy: 'protocols h1 h2 h3, with TLS',
    HAProxy: 'bind :443 ssl crt … alpn h2,http/1.1',
    Envoy: 'alpn_protocols: [h2, http/1.1] in the TLS context of the listener, codec_type: AUTO',
    Traefik: 'TLS on the entry point; HTTP/2 then comes by itself',
    Cloudflare: 'Speed > Protocol: HTTP/2 and HTTP/3 on',
    CloudFront: 'HttpVersion: http2and3',
    all: 'TLS with HTTP/2 for browsers: else six live reads of one origin, over all tabs, are all there may be',
  },
  concurrentStreams: {
    nginx: 'http2_max_concurrent_streams 256',
    HAProxy: 'tune.h2.max-concurrent-streams 256',
    Envoy: 'http2_protocol_options.max_concurrent_streams: 256',
    Traefik: 'http2.maxConcurrentStreams: 256 on the entry point',
    all: '100 or more requests at a time on a connection of HTTP/2',
  },
  keepAlive: {
    nginx: 'keepalive_timeout 75s (0 turns it off)',
    HAProxy: 'option http-keep-alive, not httpclose; timeout http-keep-alive 75s',
    Envoy: 'no max_requests_per_connection: 1',
    all: 'connections have to be kept: each poll pays for a new one, and for TLS',
  },
  compression: {
    nginx: 'gzip_types (and brotli_types) without text/event-stream and without *',
    Caddy: 'encode with a matcher that leaves out live=sse',
    HAProxy: 'compression type without text/event-stream',
    Envoy: 'text/event-stream not in content_type of the compressor filter',
    Traefik: 'compress middleware: excludedContentTypes text/event-stream',
    Varnish: 'beresp.do_gzip not for text/event-stream; return (pipe) for live=sse',
    Cloudflare: 'a compression rule: text/event-stream to no compression',
    CloudFront: 'Compress: false on the behavior of the streams',
    all: 'answers say no-transform; who compresses them all the same holds events back, and memory for each reader',
  },
  corsStripped: {
    nginx: 'no proxy_hide_header Access-Control-*; no add_header Access-Control-* of its own',
    Cloudflare: 'no transform rule that removes or sets Access-Control-* headers',
    CloudFront:
      'a response headers policy must not override CORS; the origin request policy forwards Origin and Access-Control-Request-*',
    all: 'pass the CORS headers of the gateway on as they are, on OPTIONS too, and add none: two are none',
  },
  corsOrigin: {
    gateway: 'the origin of the page in CORS_ORIGINS, or in CORS_PROJECT_ORIGINS for the project',
    CloudFront: 'Origin forwarded (origin request policy CORS-CustomOrigin), and in the cache key',
  },
  staleTail: {
    nginx:
      'no proxy_ignore_headers Cache-Control, no proxy_cache_use_stale, no proxy_cache_valid that overrules',
    Caddy: 'no cache handler with a fixed ttl for the streams',
    HAProxy: 'no http-request cache-use for the streams',
    Varnish: 'no beresp.ttl set above what Cache-Control says; grace 0s',
    Cloudflare:
      'cache rule: Edge TTL and Browser TTL "respect origin"; no "cache everything" with a TTL of its own',
    CloudFront: 'a cache policy with minimum TTL 0 and default TTL 0',
    all: 'follow the Cache-Control of each answer: the tail is no-cache, refusals are no-store',
  },
  cacheKey: {
    nginx: 'proxy_cache_key "$http_host$request_uri"',
    Varnish: 'hash the whole req.url',
    Cloudflare: 'cache key with the whole query string (no "ignore query string")',
    CloudFront: 'cache policy: all query strings in the key',
    all: 'the query string is a part of what is asked for: offset, cursor, live, rk, ticket',
  },
  etag: {
    nginx:
      'no proxy_hide_header ETag; no sub_filter or gzip that removes it; If-None-Match to the gateway',
    Cloudflare: 'strong ETags respected; no rewriting of answers',
    all: 'pass ETag and If-None-Match on as they are',
  },
  collapsing: {
    nginx:
      'proxy_cache with proxy_cache_lock on for live=long-poll with a cursor; proxy_cache_lock_timeout 22s; limit_conn above the readers of one address',
    Varnish:
      'return (hash) for live=long-poll with a cursor: requests wait for one another by themselves',
    Cloudflare:
      'a cache rule "eligible for cache" for the path of the streams, with the TTL of the origin',
    CloudFront: 'a cache policy with all query strings in the key and minimum TTL 0; origin shield',
    all: 'long-polls with a cursor may be kept as their Cache-Control says, by their whole URL',
  },
  leak: {
    nginx:
      'no proxy_ignore_headers Cache-Control or Vary; proxy_no_cache and proxy_cache_bypass $http_authorization $http_cookie',
    Varnish: 'return (pass) when there is Authorization, Cookie or ticket=, unless the URL has rk=',
    Cloudflare: 'no "cache everything" with an Edge TTL of its own for the streams',
    CloudFront: 'minimum TTL 0, Authorization in the cache key',
    all: 'never keep what is private; purge the cache now: it has answers that others must not get',
  },
  openStreams: {
    gateway: 'keys (JWT_…) or AUTH=jwt, and fewer PUBLIC_STREAMS, if streams are to be private',
  },
  clock: {
    gateway: 'NTP (chrony, systemd-timesyncd) on its hosts; JWT_CLOCK_TOLERANCE_S is 30',
    all: 'tokens begin and expire, and caches keep answers, by the clock',
  },
  errorPages: {
    nginx:
      'proxy_intercept_errors off; no error_page for 4xx; no proxy_hide_header for headers of the gateway',
    HAProxy: 'no http-error or errorfile for statuses of the gateway',
    Envoy: 'no local_reply mapper for answers of the gateway',
    Traefik: 'no errors middleware on the router',
    Cloudflare: 'no custom error pages, WAF or browser checks for the path of the streams',
    CloudFront: 'no CustomErrorResponses for the distribution of the streams',
    all: 'pass refusals on as they are: status, headers and body are for programs',
  },
  retryAfter: {
    nginx:
      'no proxy_hide_header Retry-After; limit_req and limit_conn say no Retry-After: limit at the gateway (LIMITS_…)',
    all: 'pass Retry-After on: without it all clients come back at once',
  },
  bodySize: {
    gateway: 'MAX_APPEND_BYTES, if this is not meant',
    nginx: 'client_max_body_size 0 (1m when left out): the gateway has limits of its own',
    Caddy: 'no request_body max_size below MAX_APPEND_BYTES',
    HAProxy: 'no rule on req.body_size or req.body_len below MAX_APPEND_BYTES',
    Envoy: 'no buffer filter with max_request_bytes below MAX_APPEND_BYTES',
    Traefik: 'no buffering middleware with maxRequestBodyBytes below MAX_APPEND_BYTES',
    Cloudflare: 'its limit is 100 MB on the free and pro plans: check WAF rules on body size',
    all: 'bodies up to MAX_APPEND_BYTES (16 MiB) have to pass',
  },
  urls: {
    nginx:
      'proxy_pass without a path (http://upstream, not http://upstream/): with one, names are decoded; merge_slashes off',
    Traefik:
      'http.encodedCharacters of the entry point: allowEncodedPercent and the others true (from 3.6.3 on)',
    Envoy: 'normalize_path and merge_slashes off, path_with_escaped_slashes_action: KEEP_UNCHANGED',
    Cloudflare: 'Rules > URL normalization: off to the origin',
    all: 'pass paths and queries on as they were sent: names are percent-encoded',
  },
  location: {
    gateway: 'TRUST_PROXY names the proxy, if that sends X-Forwarded-Host and X-Forwarded-Proto',
    nginx: 'proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme',
    HAProxy: 'http-request set-header X-Forwarded-Proto https if { ssl_fc }',
    Varnish: 'leave Host as it is; set req.http.X-Forwarded-Proto',
    CloudFront: 'origin request policy AllViewer, so that Host is that of the request',
    all: 'keep Host: Location, and the URLs of webhooks, are made of it',
  },
  requestHeaders: {
    nginx: 'no proxy_pass_request_headers off; proxy_set_header clears none of them',
    CloudFront: 'origin request policy AllViewer: it forwards no headers of its own accord',
    all: 'pass on Last-Event-ID, Producer-*, Stream-*, If-None-Match and Authorization',
  },
  responseHeaders: {
    nginx: 'no proxy_hide_header for Stream-* and the others of the gateway',
    Cloudflare: 'no transform rule that removes response headers',
    CloudFront: 'a response headers policy that removes none of them',
    all: 'pass the headers of the gateway on as they are',
  },
  methods: {
    CloudFront: 'allowed methods: GET, HEAD, OPTIONS, PUT, POST, PATCH, DELETE',
    Cloudflare: 'no WAF rule against PUT and DELETE on the path of the streams',
    nginx: 'no limit_except or dav rules on the path of the streams',
    all: 'GET, HEAD, PUT, POST, DELETE and OPTIONS have to pass',
  },
  token: {
    gateway: 'a token that may read, write and manage streams below --stream-prefix',
  },
} as const satisfies Readonly<Record<string, Settings>>

export type Remedy = keyof typeof REMEDIES

export type Advice = { readonly at: string; readonly set: string }

/**
 * What to set for a remedy: for the proxies that were seen, or, where none of them has a setting,
 * for all; then what always holds.
 */
export function adviceFor(remedy: Remedy, seen: readonly Where[]): readonly Advice[] {
  const settings: Settings = REMEDIES[remedy]
  const named = Object.entries(settings).filter(([at]) => at !== 'all' && at !== 'gateway')
  const known = named.filter(([at]) => seen.some((where) => where === at))
  const advice = (known.length > 0 ? known : named).map(([at, set]) => ({ at, set }))
  if (settings.gateway !== undefined) advice.push({ at: 'gateway', set: settings.gateway })
  if (settings.all !== undefined) advice.push({ at: 'any', set: settings.all })
  return advice
}
