/** An append session that keeps the log of its project open for as long as it goes on itself. */
import { AppendPipeline } from './append-pipeline.ts'
import { checkBatch, type AppendAck, type AppendBatch, type AppendSession } from './log.ts'

export class ProjectAppendSession implements AppendSession {
  readonly #session: AppendSession
  readonly #release: () => void

  /** `release` is called when the session is over, perhaps more than once. */
  constructor(session: AppendSession, release: () => void) {
    this.#session = session
    this.#release = release
  }

  get isOpen(): boolean {
    return this.#session.isOpen
  }

  async append(batch: AppendBatch): Promise<AppendAck> {
    try {
      return await this.#session.append(batch)
    } catch (error) {
      if (!this.#session.isOpen) this.#release()
      throw error
    }
  }

  close(): void {
    this.#session.close()
    this.#release()
  }
}

/** One that could not be opened, as its first append says. */
export function failedAppendSession(cause: Error): AppendSession {
  const pipeline = new AppendPipeline()
  return {
    get isOpen() {
      return pipeline.isOpen
    },
    append: async (batch) => {
      checkBatch(batch)
      return pipeline.run(() => Promise.reject(cause))
    },
    close: () => pipeline.end(new Error('the append session was closed')),
  }
}
