/** One request of a client, and everything that can become of it. */
import http from 'node:http'
import type { Failure } from './history.ts'

export type Sending = {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer
  /** The client hangs up after this long, whatever has come. */
  readonly patienceMs: number
}

export type Answer = {
  readonly kind: 'answer'
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

/** One for all: connections outlive gateways, and go stale with them. */
const agent = new http.Agent({ keepAlive: true })

/** What the answer says was not done. */
const UNKNOWN_CODE = 'append_outcome_unknown'

/** Sends a request; an answer that is no success is a failure, too. */
export async function send(url: string, sending: Sending): Promise<Answer | Failure> {
  const sent = await exchange(url, sending)
  if (sent.kind !== 'answer' || sent.status < 300) return sent
  return failureOf(sent)
}

function failureOf({ status, headers, body }: Answer): Failure {
  const isProblem = headers['content-type'] === 'application/problem+json'
  // An answer to HEAD has no body; there is one reason only for a 404.
  const fallback = status === 404 ? 'stream_not_found' : `${status}`
  const isEmpty = body === ''
  const code = isProblem && !isEmpty ? (JSON.parse(body) as { code: string }).code : fallback
  if (code === UNKNOWN_CODE) return { kind: 'unknown', why: code }
  return { kind: 'refused', status, code: status === 503 && isEmpty ? 'log_unavailable' : code }
}

function exchange(url: string, sending: Sending): Promise<Answer | Failure> {
  const { method, headers = {}, body, patienceMs } = sending
  return new Promise((resolve) => {
    const length = body === undefined ? {} : { 'content-length': String(body.length) }
    const request = http.request(url, { method, agent, headers: { ...headers, ...length } })
    const timer = setTimeout(() => lose('out of patience'), patienceMs)
    const finish = (outcome: Answer | Failure): void => {
      clearTimeout(timer)
      resolve(outcome)
    }
    const lose = (why: string): void => {
      finish({ kind: 'unknown', why })
      request.destroy()
    }
    request.once('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('error', () => lose('cut in the answer'))
      response.once('close', () => {
        if (!response.complete) lose('cut in the answer')
        const text = Buffer.concat(chunks).toString()
        const { statusCode = 0, headers: head } = response
        finish({ kind: 'answer', status: statusCode, headers: head, body: text })
      })
    })
    request.on('error', (error: NodeJS.ErrnoException) => {
      // Nobody listens: not a byte of it was sent.
      if (error.code === 'ECONNREFUSED') finish({ kind: 'refused', status: 0, code: 'unreached' })
      else finish({ kind: 'unknown', why: error.code ?? error.message })
    })
    request.end(body)
  })
}

/** Closes the connections that are kept for the next request. */
export function closeConnections(): void {
  agent.destroy()
}
