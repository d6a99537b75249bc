/** Metrics of requests and live reads, whichever way they came. */
import type { DisconnectReason } from '../http/event-sink.ts'
import type {
  HttpObserver,
  LiveObserver,
  ObservedRequest,
  Transport,
} from '../http/http-observer.ts'
import { PROBLEM_CODES } from '../http/problem.ts'
import type { Audience, CacheKind } from '../protocol/caching.ts'
import type { Count, Instruments, Seconds, Tally } from './instruments.ts'
import type { Meter } from './meter.ts'

/** SSE readers leave at about 60 s of their own, and long-polls at 20. */
const LIFETIME_BUCKETS = [0.1, 1, 5, 15, 30, 60, 120, 300, 900, 3600]
const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** A label can't have a hyphen less for being a word of ours. */
const TRANSPORTS = { sse: 'sse', 'long-poll': 'long_poll' } as const satisfies Record<
  Transport,
  string
>

const SSE_ENDS: readonly DisconnectReason[] = [
  'client',
  'failed',
  'gap',
  'idle',
  'key_withdrawn',
  'lifetime',
  'read_failed',
  'shutdown',
  'stalled',
  'stream_closed',
  'stream_deleted',
  'stream_expired',
  'token_expired',
]

const AUTH_FAILURES = [
  'unauthenticated',
  'invalid_token',
  'token_expired',
  'insufficient_scope',
  'forbidden',
  'keys_unavailable',
]

/** By the code of the problem. */
const PRODUCER_REFUSALS: Readonly<Record<string, string>> = {
  producer_gap: 'gap',
  stale_epoch: 'fenced',
  bad_epoch_start: 'bad_epoch',
}

type CacheKindCount = {
  readonly kind: CacheKind
  readonly audience: Audience
  readonly count: Count
}

export class HttpMetrics implements HttpObserver {
  readonly #requests: Tally
  readonly #durations: Seconds
  readonly #problems: Tally
  readonly #cacheKinds: Tally
  readonly #connectionDurations: Seconds
  #notModified = 0
  /** What was counted last: of thousands of polls that are answered at once all are the same. */
  #latest: { readonly request: ObservedRequest; readonly count: Count } | undefined
  #latestCacheKind: CacheKindCount | undefined

  constructor(to: Instruments) {
    this.#requests = to.tally({
      name: 'http_requests_total',
      help: 'Requests that are answered, by what they were for; 499: the client did not wait.',
      labels: ['method', 'operation', 'status'],
    })
    this.#durations = to.seconds(
      {
        name: 'http_request_duration_seconds',
        help: 'From the head of a request to the end of its answer; live reads are left out.',
        labels: ['operation'],
      },
      REQUEST_BUCKETS,
    )
    this.#problems = to
      .tally({
        name: 'problems_total',
        help: 'Answers that are problems, by their codes.',
        labels: ['code'],
      })
      .begin(PROBLEM_CODES)
    this.#cacheKinds = to.tally({
      name: 'cache_class_total',
      help: 'Answers to reads by what caches may do with them, and whose.',
      labels: ['class', 'audience'],
    })
    this.#connectionDurations = to.seconds(
      { name: 'connection_duration_seconds', help: 'How long connections were there.' },
      LIFETIME_BUCKETS,
    )
    this.#ofProblems(to)
    to.counter(
      { name: 'not_modified_total', help: 'Answers that were 304: the client had it already.' },
      () => this.#notModified,
    )
  }

  #ofProblems(to: Instruments): void {
    const count = (code: string): number => this.#problems.of(code)
    to.counter(
      {
        name: 'auth_failures_total',
        help: 'Requests that were refused for their credentials.',
        labels: ['reason'],
      },
      () => AUTH_FAILURES.map((reason) => [{ reason }, count(reason)] as const),
    )
    to.counter(
      {
        name: 'producer_refusals_total',
        help: 'Appends of idempotent producers that were refused for their epoch or seq.',
        labels: ['reason'],
      },
      () =>
        Object.entries(PRODUCER_REFUSALS).map(
          ([code, reason]) => [{ reason }, count(code)] as const,
        ),
    )
  }

  onRequest(request: ObservedRequest): void {
    const { operation, status, ms } = request
    this.#countOf(request).value += 1
    if (ms !== undefined) this.#durations.observe(ms, operation)
    if (status === 304) this.#notModified += 1
  }

  #countOf(request: ObservedRequest): Count {
    if (this.#latest?.request === request) return this.#latest.count
    const { method, operation, status } = request
    const count = this.#requests.count(`${method} ${operation} ${status}`)
    this.#latest = { request, count }
    return count
  }

  onProblem(code: string): void {
    this.#problems.add(code)
  }

  onCacheKind(kind: CacheKind, audience: Audience): void {
    const latest = this.#latestCacheKind
    if (latest?.kind === kind && latest.audience === audience) {
      latest.count.value += 1
      return
    }
    const count = this.#cacheKinds.count(`${kind} ${audience}`)
    count.value += 1
    this.#latestCacheKind = { kind, audience, count }
  }

  onConnectionClosed(ms: number): void {
    this.#connectionDurations.observe(ms)
  }
}

export class LiveMetrics implements LiveObserver {
  readonly #http: HttpObserver
  readonly #meter: Meter
  readonly #begun: Readonly<Record<Transport, Count>>
  readonly #durations: Seconds
  readonly #sseEnds: Tally
  readonly #pollAnswers: Readonly<Record<'withData' | 'empty', Count>>

  constructor(to: Instruments, http: HttpObserver, meter: Meter) {
    this.#http = http
    this.#meter = meter
    const transports = Object.values(TRANSPORTS)
    const begun = to
      .tally({
        name: 'live_reads_total',
        help: 'Live reads that were let in.',
        labels: ['transport'],
      })
      .begin(transports)
    this.#begun = {
      sse: begun.count(TRANSPORTS.sse),
      'long-poll': begun.count(TRANSPORTS['long-poll']),
    }
    this.#durations = to.seconds(
      {
        name: 'live_read_duration_seconds',
        help: 'How long live reads were there.',
        labels: ['transport'],
      },
      LIFETIME_BUCKETS,
    )
    this.#sseEnds = to
      .tally({
        name: 'sse_ends_total',
        help: 'SSE streams that ended, and why: lifetime is a rotation, stalled a slow reader.',
        labels: ['reason'],
      })
      .begin(SSE_ENDS)
    const pollAnswers = to
      .tally({
        name: 'long_poll_results_total',
        help: 'Long-polls that were answered: 200 with data, 304 included; 204 without.',
        labels: ['status'],
      })
      .begin(['200', '204'])
    this.#pollAnswers = { withData: pollAnswers.count('200'), empty: pollAnswers.count('204') }
  }

  onBegin(transport: Transport): void {
    this.#begun[transport].value += 1
    this.#meter.readers.add()
    if (transport === 'long-poll') return
    this.#http.onRequest({ method: 'GET', operation: 'read', status: 200, ms: undefined })
    // No cache keeps it, whoever may read it.
    this.#http.onCacheKind('sse', 'private')
  }

  onEnd(transport: Transport, ms: number): void {
    this.#meter.readers.remove()
    this.#durations.observe(ms, TRANSPORTS[transport])
  }

  onSseEnd(reason: DisconnectReason): void {
    this.#sseEnds.add(reason)
  }

  onPollAnswer(isEmpty: boolean): void {
    this.#pollAnswers[isEmpty ? 'empty' : 'withData'].value += 1
  }
}
