/** Tracing that keeps what it is told, and samples everything. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { parseTraceparent, traceparentOf } from '../../src/protocol/traceparent.ts'
import type { Attributes, Carrier, Span, Tracing } from '../../src/tracing/tracing.ts'

export class RecordedSpan implements Span {
  readonly name: string
  readonly traceId: string
  readonly traceparent: string
  readonly parent: string | undefined
  /** The `traceparent` of each. */
  readonly links: readonly string[]
  readonly noted: Record<string, string | number | boolean | undefined>
  failure: string | undefined
  isOver = false

  constructor(name: string, index: number, rest: SpanParts) {
    const { parent, links = [], attributes } = rest
    this.name = name
    this.parent = parent
    this.links = links
    this.noted = { ...attributes }
    this.traceId = parseTraceparent(parent)?.traceId ?? String(index).padStart(32, 'a')
    this.traceparent = `00-${this.traceId}-${String(index).padStart(16, 'b')}-01`
  }

  note(attributes: Attributes): void {
    Object.assign(this.noted, attributes)
  }

  end(attributes: Attributes = {}, failure?: string): void {
    if (this.isOver) return
    this.note(attributes)
    this.failure = failure
    this.isOver = true
  }
}

type SpanParts = {
  readonly parent?: string | undefined
  readonly links?: readonly string[]
  readonly attributes: Attributes
}

export class RecordingTracing implements Tracing {
  readonly spans: RecordedSpan[] = []
  readonly #scopes = new AsyncLocalStorage<readonly RecordedSpan[]>()

  named(name: string): readonly RecordedSpan[] {
    return this.spans.filter((span) => span.name === name)
  }

  current(): RecordedSpan | undefined {
    return this.#scopes.getStore()?.[0]
  }

  within<Result>(spans: readonly (Span | undefined)[], run: () => Result): Result {
    return this.#scopes.run(
      spans.filter((span) => span instanceof RecordedSpan),
      run,
    )
  }

  request(name: string, headers: Carrier, attributes: Attributes): RecordedSpan {
    return this.#begin(name, { parent: traceparentOf(headers), attributes })
  }

  operation(name: string, _kind: string, attributes: Attributes): RecordedSpan | undefined {
    const [parent, ...others] = this.#scopes.getStore()?.filter(({ isOver }) => !isOver) ?? []
    if (parent === undefined) return undefined
    const links = others.map(({ traceparent }) => traceparent)
    return this.#begin(name, { parent: parent.traceparent, links, attributes })
  }

  delivery(links: readonly string[], attributes: Attributes): RecordedSpan {
    return this.#begin('deliver', { parent: links[0], links, attributes })
  }

  outgoing(name: string, attributes: Attributes) {
    const span = this.#begin(name, { attributes })
    return { span, headers: { traceparent: span.traceparent } }
  }

  #begin(name: string, parts: SpanParts): RecordedSpan {
    const span = new RecordedSpan(name, this.spans.length + 1, parts)
    this.spans.push(span)
    return span
  }
}
