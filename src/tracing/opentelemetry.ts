/**
 * Tracing by OpenTelemetry. Nothing but `main.ts` may import this, and only when tracing is on:
 * the packages take a third of a second and tens of megabytes.
 *
 * Its SDK reads the standard variables by itself; `config-tracing.ts` has looked at them before.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  diag,
  isSpanContextValid,
  propagation,
  trace,
} from '@opentelemetry/api'
import type {
  Context,
  Link,
  Span as RecordedSpan,
  SpanContext,
  SpanOptions,
  Tracer,
} from '@opentelemetry/api'
import { NodeSDK, resources } from '@opentelemetry/sdk-node'
import { formatTraceparent, isSampled, parseTraceparent } from '../protocol/traceparent.ts'
import type { TraceContext } from '../protocol/traceparent.ts'
import { Diagnostics, explain } from './diagnostics.ts'
import type { OnTracingProblem } from './diagnostics.ts'
import type {
  Attributes,
  Carrier,
  OperationKind,
  Outgoing,
  Span,
  StartedTracing,
  Tracing,
} from './tracing.ts'

/** Of the gateway, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say another one. */
const SERVICE_NAME = 'durable-streams-gateway'

/** What is not sent by then is lost: a collector that is away must not keep a gateway from leaving. */
const FLUSH_MS = 3000

/** Starts what the environment asks for. `onProblem` is told of what goes wrong with it, once. */
export function startTracing(onProblem: OnTracingProblem): StartedTracing {
  const service = resources.resourceFromAttributes({ 'service.name': SERVICE_NAME })
  const sdk = new NodeSDK({
    resource: resources.defaultResource().merge(service),
    // Only traces: what the gateway counts is at /metrics, and its log on standard output.
    metricReaders: [],
    logRecordProcessors: [],
  })
  // Not before: the SDK sets one that writes to the console, if OTEL_LOG_LEVEL is set.
  diag.setLogger(new Diagnostics(onProblem), { suppressOverrideMessage: true })
  sdk.start()
  const stop = async (): Promise<void> => {
    const flushed = sdk.shutdown().catch((error: unknown) => diag.error(explain(error)))
    await Promise.race([flushed, late(FLUSH_MS)])
  }
  return { tracing: new OpenTelemetry(trace.getTracer(SERVICE_NAME)), stop }
}

function late(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

class OpenTelemetry implements Tracing {
  readonly #tracer: Tracer
  readonly #scopes = new AsyncLocalStorage<readonly Work[]>()

  constructor(tracer: Tracer) {
    this.#tracer = tracer
  }

  current(): Span | undefined {
    return this.#scopes.getStore()?.[0]
  }

  within<Result>(spans: readonly (Span | undefined)[], run: () => Result): Result {
    return this.#scopes.run(
      spans.filter((span) => span instanceof Work),
      run,
    )
  }

  request(name: string, headers: Carrier, attributes: Attributes): Span {
    const sender = propagation.extract(ROOT_CONTEXT, headers)
    return this.#start(name, { kind: SpanKind.SERVER, attributes: { ...attributes } }, sender)
  }

  operation(name: string, kind: OperationKind, attributes: Attributes): Span | undefined {
    const [parent, ...others] = this.#scopes.getStore()?.filter(({ isOpen }) => isOpen) ?? []
    if (parent === undefined) return undefined
    return this.#start(
      name,
      {
        kind: kind === 'client' ? SpanKind.CLIENT : SpanKind.INTERNAL,
        attributes: { ...attributes },
        links: others.map(({ context }) => ({ context })),
      },
      trace.setSpanContext(ROOT_CONTEXT, parent.context),
    )
  }

  delivery(traceparents: readonly string[], attributes: Attributes): Span | undefined {
    const appends = traceparents.map(parseTraceparent).filter((context) => context !== undefined)
    const parent = appends.find(isSampled)
    if (parent === undefined) return undefined
    return this.#start(
      'deliver',
      {
        kind: SpanKind.INTERNAL,
        attributes: { ...attributes },
        links: appends.map((append): Link => ({ context: remote(append) })),
      },
      // In the trace of one of them: a sampler that goes by its parent decides for both alike.
      trace.setSpanContext(ROOT_CONTEXT, remote(parent)),
    )
  }

  outgoing(name: string, attributes: Attributes): Outgoing {
    const span = this.#start(name, { kind: SpanKind.CLIENT, attributes: { ...attributes } })
    const headers: Record<string, string> = {}
    propagation.inject(trace.setSpanContext(ROOT_CONTEXT, span.context), headers)
    return { span, headers }
  }

  #start(name: string, options: SpanOptions, parent: Context = ROOT_CONTEXT): Work {
    return new Work(this.#tracer.startSpan(name, options, parent))
  }
}

function remote({ traceId, spanId, flags: traceFlags }: TraceContext): SpanContext {
  return { traceId, spanId, traceFlags, isRemote: true }
}

class Work implements Span {
  readonly #span: RecordedSpan

  constructor(span: RecordedSpan) {
    this.#span = span
  }

  get context(): SpanContext {
    return this.#span.spanContext()
  }

  get isOpen(): boolean {
    return this.#span.isRecording()
  }

  get traceId(): string {
    return this.context.traceId
  }

  get traceparent(): string | undefined {
    const { traceId, spanId, traceFlags: flags } = this.context
    const context = { traceId, spanId, flags }
    const isTold = isSpanContextValid(this.context) && isSampled(context)
    return isTold ? formatTraceparent(context) : undefined
  }

  note(attributes: Attributes): void {
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined) this.#span.setAttribute(name, value)
    }
  }

  end(attributes: Attributes = {}, failure?: string): void {
    if (!this.isOpen) return
    this.note(attributes)
    if (failure !== undefined) {
      this.#span.setAttribute('error.type', failure)
      this.#span.setStatus({ code: SpanStatusCode.ERROR })
    }
    this.#span.end()
  }
}
