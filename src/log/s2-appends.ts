/**
 * Unary appends to the streams of one basin.
 *
 * Past the SDK, whose way from a batch to `fetch` takes some milliseconds of CPU for a few hundred
 * records: more than all else that a gateway does with them. The conditions are the same, and its
 * errors too, so that `s2-errors.ts` is right for both. One attempt, and nothing is retried.
 */
import {
  FencingTokenMismatchError,
  S2Endpoints,
  S2Error,
  SeqNumMismatchError,
} from '@s2-dev/streamstore'
import { Pool } from 'undici'
import { decodeAck, encodeAppend } from './s2-append-wire.ts'
import type { AppendAck, AppendBatch } from './log.ts'

/** As the SDK's own. */
const CONNECT_TIMEOUT_MS = 3000

export type S2AppendsOptions = {
  /** One URL for account and basin, as s2-lite has it. Without it: managed S2. */
  readonly endpoint?: string | undefined
  readonly accessToken: string
  readonly basin: string
  readonly connectTimeoutMs?: number | undefined
}

export class S2Appends {
  readonly #pool: Pool
  readonly #path: string
  readonly #headers: Readonly<Record<string, string>>

  constructor({ endpoint, accessToken, basin, connectTimeoutMs }: S2AppendsOptions) {
    const endpoints = new S2Endpoints(endpoint === undefined ? {} : { basin: endpoint })
    const { origin, pathname } = new URL(endpoints.basinBaseUrl(basin))
    this.#path = `${pathname.replace(/\/$/, '')}/streams/`
    this.#headers = {
      authorization: `Bearer ${accessToken}`,
      'content-type': 'application/protobuf',
      accept: 'application/protobuf',
      ...(endpoints.includeBasinHeader ? { 's2-basin': basin } : {}),
    }
    this.#pool = new Pool(origin, {
      connect: { timeout: connectTimeoutMs ?? CONNECT_TIMEOUT_MS },
      // Whoever appends bounds the whole call.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
  }

  /**
   * Appends a batch that is within the log's limits.
   *
   * @throws S2Error
   * @throws Error the answer can't be read
   */
  async append(stream: string, batch: AppendBatch, signal: AbortSignal): Promise<AppendAck> {
    const path = `${this.#path}${encodeURIComponent(stream)}/records`
    const body = encodeAppend(batch)
    const { statusCode, answer } = await this.#post({ path, body, signal })
    if (statusCode !== 200) throw refusal(statusCode, answer)
    return decodeAck(answer)
  }

  /** Drops what is under way and its connections. */
  async close(): Promise<void> {
    await this.#pool.destroy()
  }

  async #post(request: { path: string; body: Buffer; signal: AbortSignal }) {
    try {
      const response = await this.#pool.request({
        ...request,
        method: 'POST',
        headers: this.#headers,
      })
      const answer = Buffer.from(await response.body.arrayBuffer())
      return { statusCode: response.statusCode, answer }
    } catch (error) {
      throw connectionFailure(error)
    }
  }
}

function connectionFailure(error: unknown): S2Error {
  const { message = String(error), code } = error as { message?: string; code?: string }
  const failure = new S2Error({ message, ...coded(code), status: 0, origin: 'sdk' })
  return Object.assign(failure, { cause: error })
}

/** What S2 says when it does not append: its documentation, "Append records". */
type RefusalBody = {
  readonly code?: unknown
  readonly message?: unknown
  readonly seq_num_mismatch?: unknown
  readonly fencing_token_mismatch?: unknown
}

function refusal(status: number, answer: Buffer): S2Error {
  const body = parse(answer)
  const message = typeof body.message === 'string' ? body.message : `S2 answered ${status}`
  const shared = { message, ...coded(body.code), status }
  const { seq_num_mismatch: nextSeqNum, fencing_token_mismatch: token } = body
  if (status === 412 && typeof nextSeqNum === 'number') {
    return new SeqNumMismatchError({ ...shared, expectedSeqNum: nextSeqNum })
  }
  if (status === 412 && typeof token === 'string') {
    return new FencingTokenMismatchError({ ...shared, expectedFencingToken: token })
  }
  return new S2Error({ ...shared, origin: 'server' })
}

function coded(code: unknown): { readonly code?: string } {
  return typeof code === 'string' ? { code } : {}
}

function parse(answer: Buffer): RefusalBody {
  try {
    const body: unknown = JSON.parse(answer.toString())
    return typeof body === 'object' && body !== null ? body : {}
  } catch {
    return {}
  }
}
