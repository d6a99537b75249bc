/**
 * Unary appends to the streams of one basin.
 *
 * Past the SDK, whose way from a batch to `fetch` takes some milliseconds of CPU for a few hundred
 * records: more than all else that a gateway does with them. The conditions are the same, and its
 * errors too, so that `s2-errors.ts` is right for both. One attempt, and nothing is retried.
 */
import type { Pool } from 'undici'
import { connectionFailure, refusal } from './s2-answers.ts'
import { decodeAck, encodeAppend } from './s2-append-wire.ts'
import type { BasinEndpoint } from './s2-endpoint.ts'
import type { AppendAck, AppendBatch } from './log.ts'

export class S2Appends {
  readonly #endpoint: BasinEndpoint
  readonly #headers: Readonly<Record<string, string>>
  readonly #pool: Pool

  /** `pool` has the connections to the endpoint, and is not closed by this. */
  constructor(endpoint: BasinEndpoint, pool: Pool) {
    this.#endpoint = endpoint
    this.#pool = pool
    this.#headers = {
      ...this.#endpoint.headers,
      'content-type': 'application/protobuf',
      accept: 'application/protobuf',
    }
  }

  /**
   * Appends a batch that is within the log's limits.
   *
   * @throws S2Error
   * @throws Error the answer can't be read
   */
  async append(stream: string, batch: AppendBatch, signal: AbortSignal): Promise<AppendAck> {
    const path = this.#endpoint.recordsOf(stream)
    const body = encodeAppend(batch)
    const { statusCode, answer } = await this.#post({ path, body, signal })
    if (statusCode !== 200) throw refusal(statusCode, answer)
    return decodeAck(answer)
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
