/** An append session with something before each append gets to it, and after each answer. */
import { AppendOutcomeUnknownError } from '../../src/errors.ts'
import { AppendPipeline } from '../../src/log/append-pipeline.ts'
import { checkBatch, type AppendSession } from '../../src/log/log.ts'

export type Around = {
  /** Those behind wait for it too, and fail with it. */
  readonly before: () => Promise<void>
  readonly after: () => Promise<void>
}

export function wrapAppends(session: AppendSession, { before, after }: Around): AppendSession {
  const pipeline = new AppendPipeline(() => session.close())
  let sent = Promise.resolve()
  return {
    get isOpen() {
      return pipeline.isOpen
    },
    append: async (batch) => {
      checkBatch(batch)
      return pipeline.run(async () => {
        const turn = sent.then(before)
        sent = turn
        await turn
        if (!session.isOpen) throw new AppendOutcomeUnknownError(new Error('not sent'))
        const ack = await session.append(batch)
        await after()
        return ack
      })
    },
    close: () => pipeline.end(new Error('closed')),
  }
}
