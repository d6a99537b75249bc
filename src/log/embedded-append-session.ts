/**
 * One append session of the embedded log: every append is judged at once, behind those before it,
 * and they share the log's group commits.
 */
import { AppendPipeline } from './append-pipeline.ts'
import type { OpenStream } from './embedded-stream.ts'
import { checkBatch, type AppendAck, type AppendBatch, type AppendSession } from './log.ts'

/** Runs work on the session's stream. Of two calls the work of the first begins first. */
export type UseStream = <T>(work: (stream: OpenStream) => Promise<T>) => Promise<T>

export class EmbeddedAppendSession implements AppendSession {
  readonly #use: UseStream
  readonly #pipeline: AppendPipeline

  constructor(use: UseStream, onEnd: () => void) {
    this.#use = use
    this.#pipeline = new AppendPipeline(onEnd)
  }

  get isOpen(): boolean {
    return this.#pipeline.isOpen
  }

  async append(batch: AppendBatch): Promise<AppendAck> {
    checkBatch(batch)
    return this.#pipeline.run(() => this.#use((stream) => this.#appendTo(stream, batch)))
  }

  close(): void {
    this.end(new Error('the append session was closed'))
  }

  /** As {@link close}, for a reason of the log's. */
  end(cause: unknown): void {
    this.#pipeline.end(cause)
  }

  async #appendTo(stream: OpenStream, batch: AppendBatch): Promise<AppendAck> {
    if (!this.isOpen) throw new Error('an append before it has failed')
    // Not only when the conflict is answered: the next append would be judged before that.
    return stream.append(batch, () => this.#pipeline.refuse())
  }
}
