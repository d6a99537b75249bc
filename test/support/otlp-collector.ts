/** What a gateway sends traces to: OTLP over HTTP, as JSON (OTEL_EXPORTER_OTLP_PROTOCOL=http/json). */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

export type CollectedSpan = {
  readonly name: string
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[]
  readonly attributes: Readonly<Record<string, unknown>>
  /** 2 is a failure. */
  readonly status: number
  /** Of the process. */
  readonly resource: Readonly<Record<string, unknown>>
}

type Attribute = { readonly key: string; readonly value: Readonly<Record<string, unknown>> }
type Export = {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] }
    readonly scopeSpans: readonly { readonly spans: readonly WireSpan[] }[]
  }[]
}
type WireSpan = Omit<CollectedSpan, 'attributes' | 'links' | 'status' | 'resource'> & {
  readonly attributes?: readonly Attribute[]
  readonly links?: CollectedSpan['links']
  readonly status?: { readonly code?: number }
}

export type Collected = {
  readonly path: string
  readonly contentType: string | undefined
}

/** How long spans may be on their way: the gateway sends them every 50 ms. */
const PATIENCE_MS = 10_000

export class OtlpCollector {
  /** All requests so far. */
  readonly requests: Collected[] = []
  readonly spans: CollectedSpan[] = []
  /** Whether it never answers. */
  isSilent = false
  readonly #server: Server
  #onNews = (): void => undefined

  /** Is closed when the running test is over. */
  static async start(): Promise<OtlpCollector> {
    const server = createServer((request, response) => void collector.#take(request, response))
    const collector = new OtlpCollector(server)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => collector.close())
    return collector
  }

  private constructor(server: Server) {
    this.#server = server
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** The environment of a gateway that sends its traces here, and soon. */
  get environment(): Readonly<Record<string, string>> {
    return {
      OTEL_EXPORTER_OTLP_ENDPOINT: this.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '50',
    }
  }

  /** The first span that is wanted; waits for it. */
  async span(isWanted: (span: CollectedSpan) => boolean): Promise<CollectedSpan> {
    const deadline = Date.now() + PATIENCE_MS
    for (;;) {
      const found = this.spans.find(isWanted)
      if (found !== undefined) return found
      const left = deadline - Date.now()
      if (left <= 0) {
        const names = this.spans.map(({ name, traceId }) => `${name} of ${traceId}`)
        throw new Error(`no such span among ${JSON.stringify(names)}`)
      }
      await this.#news(left)
    }
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #news(patienceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, patienceMs)
      this.#onNews = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A gateway that leaves breaks the connection.
    request.on('error', () => undefined)
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const { 'content-type': contentType } = request.headers
    this.requests.push({ path: request.url ?? '', contentType })
    if (contentType === 'application/json') this.#read(Buffer.concat(chunks).toString())
    this.#onNews()
    if (this.isSilent) return
    response.writeHead(200, { 'content-type': contentType ?? 'text/plain' })
    response.end(contentType === 'application/json' ? '{}' : '')
  }

  #read(text: string): void {
    const { resourceSpans } = JSON.parse(text) as Export
    for (const { resource, scopeSpans } of resourceSpans) {
      for (const span of scopeSpans.flatMap(({ spans }) => spans)) {
        this.spans.push({
          ...span,
          attributes: valuesOf(span.attributes),
          links: span.links ?? [],
          status: span.status?.code ?? 0,
          resource: valuesOf(resource.attributes),
        })
      }
    }
  }
}

function valuesOf(attributes: readonly Attribute[] = []): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))
}
