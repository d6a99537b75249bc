/** HTTP/2: all requests on one connection, and on the next one when the server ends it. */
import http2 from 'node:http2'
import type { ClientHttp2Session } from 'node:http2'
import { once } from 'node:events'
import { wireError } from './wire.ts'
import type { Endpoint, Headers, Incoming, Outgoing, Wire } from './wire.ts'

export class Http2Wire implements Wire {
  readonly version = '2'
  readonly #endpoint: Endpoint
  #session: ClientHttp2Session | undefined
  #connections = 0

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint
  }

  async send({ method, path, headers, body, signal }: Outgoing): Promise<Incoming> {
    const session = await this.#connected(signal)
    const connection = this.#connections
    return new Promise((resolve, reject) => {
      const sentAt = performance.now()
      const stream = session.request(
        { ':method': method, ':path': path, ...headers },
        { signal, endStream: body === undefined },
      )
      let hasEnded = false
      let wasCut = false
      stream.once('end', () => (hasEnded = true))
      stream.on('aborted', () => (wasCut = true))
      stream.on('error', (error) => {
        wasCut = true
        reject(wireError(signal.aborted ? signal.reason : error))
      })
      stream.once('close', () => reject(wireError(new Error('the stream ended without an answer'))))
      stream.once('response', (fields) => {
        resolve({
          status: fields[':status'] ?? 0,
          headers: join(fields),
          sentAt,
          headAt: performance.now(),
          connection,
          body: stream,
          isWhole: () => hasEnded && !wasCut && stream.rstCode === 0,
        })
      })
      if (body !== undefined) stream.end(body)
    })
  }

  maxConcurrent(): number | undefined {
    return this.#session?.remoteSettings.maxConcurrentStreams
  }

  close(): void {
    this.#session?.destroy()
  }

  async #connected(signal: AbortSignal): Promise<ClientHttp2Session> {
    const current = this.#session
    if (current !== undefined && !current.closed && !current.destroyed) return current
    const { origin, insecure } = this.#endpoint
    const session = http2.connect(origin, { rejectUnauthorized: !insecure })
    this.#session = session
    this.#connections += 1
    // It shows in its streams.
    session.on('error', () => undefined)
    try {
      await once(session, 'remoteSettings', { signal })
    } catch (error) {
      session.destroy()
      throw wireError(signal.aborted ? signal.reason : error)
    }
    return session
  }
}

function join(fields: http2.IncomingHttpHeaders): Headers {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(fields)) {
    if (name.startsWith(':') || value === undefined) continue
    headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  return headers
}
