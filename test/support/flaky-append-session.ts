/**
 * An append session over a network that fails: see {@link FlakyLog} for the faults.
 *
 * What was sent behind a fault goes the way of a connection: it is applied only if all before it
 * was, and nobody hears of it.
 */
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import { AppendPipeline } from '../../src/log/append-pipeline.ts'
import {
  checkBatch,
  type AppendAck,
  type AppendBatch,
  type AppendSession,
} from '../../src/log/log.ts'

export type AppendFault = 'none' | 'unavailable' | 'lostRequest' | 'lostAnswer' | 'late'

export type FlakyNetwork = {
  readonly open: () => AppendSession
  /** What becomes of the next append. */
  readonly fault: () => AppendFault
  /** The time one way. */
  readonly delay: () => Promise<void>
  /** Runs when a connection that was given up for lost delivers after all. */
  readonly later: (run: () => void) => void
}

export class FlakyAppendSession implements AppendSession {
  readonly #network: FlakyNetwork
  readonly #session: AppendSession
  readonly #pipeline: AppendPipeline
  #sent: Promise<void> = Promise.resolve()
  /** Under way on a connection that stalls, from the first append that did. */
  #stalled: AppendBatch[] | undefined

  constructor(network: FlakyNetwork) {
    this.#network = network
    this.#session = network.open()
    this.#pipeline = new AppendPipeline()
  }

  get isOpen(): boolean {
    return this.#pipeline.isOpen
  }

  async append(batch: AppendBatch): Promise<AppendAck> {
    checkBatch(batch)
    return this.#pipeline.run(() => this.#send(batch))
  }

  // The session inside is left open: what is under way on it may yet arrive.
  close(): void {
    this.#pipeline.end(new Error('closed'))
  }

  async #send(batch: AppendBatch): Promise<AppendAck> {
    const fault = this.#network.fault()
    const sent = this.#sent.then(() => this.#network.delay())
    this.#sent = sent
    await sent
    if (!this.isOpen) throw unknown('not sent')
    if (this.#stalled !== undefined) {
      this.#stalled.push(batch)
      return new Promise(() => {})
    }
    switch (fault) {
      case 'unavailable':
        throw new LogUnavailableError(new Error('flaky'))
      case 'lostRequest':
        throw unknown('request lost')
      case 'late':
        return this.#stall(batch)
      case 'lostAnswer':
        await this.#session.append(batch).catch(() => undefined)
        throw unknown('answer lost')
      case 'none': {
        const ack = await this.#session.append(batch)
        await this.#network.delay()
        return ack
      }
    }
  }

  async #stall(batch: AppendBatch): Promise<never> {
    const stalled = [batch]
    this.#stalled = stalled
    this.#network.later(() => {
      // Whether their conditions still hold is the log's to say, and nobody is there to hear it.
      for (const late of stalled) this.#session.append(late).catch(() => undefined)
    })
    await this.#network.delay()
    throw unknown('request late')
  }
}

function unknown(reason: string): AppendOutcomeUnknownError {
  return new AppendOutcomeUnknownError(new Error(reason))
}
