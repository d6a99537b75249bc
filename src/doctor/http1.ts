/** HTTP/1.1: a connection for each request that is under way, and kept for the next one. */
import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import { joinLines, wireError } from './wire.ts'
import type { Endpoint, Incoming, Outgoing, Wire } from './wire.ts'

export class Http1Wire implements Wire {
  readonly version = '1.1'
  readonly #endpoint: Endpoint
  readonly #agent: http.Agent
  readonly #numbers = new WeakMap<Socket, number>()
  #connections = 0

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint
    const isTls = endpoint.origin.protocol === 'https:'
    this.#agent = isTls
      ? new https.Agent({ keepAlive: true, rejectUnauthorized: !endpoint.insecure })
      : new http.Agent({ keepAlive: true })
  }

  send({ method, path, headers, body, signal }: Outgoing): Promise<Incoming> {
    const { protocol, hostname, port } = this.#endpoint.origin
    const { request: start } = protocol === 'https:' ? https : http
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => reject(wireError(signal.aborted ? abort() : error))
      const abort = (): unknown => signal.reason
      const sentAt = performance.now()
      const request = start({
        method,
        path,
        // Of an address of IPv6 the URL has it in brackets.
        host: hostname.replace(/^\[|\]$/g, ''),
        port: port === '' ? undefined : port,
        headers: { ...headers, ...lengthOf(body) },
        agent: this.#agent,
        signal,
      })
      request.on('error', fail)
      request.once('response', (response) => {
        // What breaks later shows as a body that is not whole.
        response.on('error', () => undefined)
        resolve({
          status: response.statusCode ?? 0,
          headers: joinLines(response.rawHeaders),
          sentAt,
          headAt: performance.now(),
          connection: this.#numberOf(response.socket),
          body: response,
          isWhole: () => response.complete,
        })
      })
      request.end(body)
    })
  }

  maxConcurrent(): undefined {
    return undefined
  }

  close(): void {
    this.#agent.destroy()
  }

  #numberOf(socket: Socket): number {
    const known = this.#numbers.get(socket)
    if (known !== undefined) return known
    this.#connections += 1
    this.#numbers.set(socket, this.#connections)
    return this.#connections
  }
}

/** A body of known length is sent with it: proxies judge it by that. */
function lengthOf(body: Outgoing['body']): Record<string, string> {
  return body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
}
