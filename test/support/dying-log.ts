/** A log whose gateway dies: after so many appends, nothing gets through any more. */
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import { AppendPipeline } from '../../src/log/append-pipeline.ts'
import { checkBatch, type AppendAck, type DurableLog } from '../../src/log/log.ts'

export type Death = {
  /** Appends that go well before it. */
  readonly appends: number
  /** Whether one more is stored that nobody hears of. */
  readonly lastIsStored: boolean
}

export function dyingLog(log: DurableLog, { appends, lastIsStored }: Death): DurableLog {
  let left = appends
  const whileAlive = async (append: () => Promise<AppendAck>): Promise<AppendAck> => {
    left -= 1
    if (left >= 0) return append()
    if (left === -1 && lastIsStored) {
      await append()
      throw new AppendOutcomeUnknownError(new Error('died'))
    }
    throw new LogUnavailableError(new Error('dead'))
  }
  const append: DurableLog['append'] = (stream, batch) =>
    whileAlive(() => log.append(stream, batch))
  const openAppendSession: DurableLog['openAppendSession'] = (stream) => {
    const session = log.openAppendSession(stream)
    const pipeline = new AppendPipeline(() => session.close())
    return {
      get isOpen() {
        return pipeline.isOpen
      },
      append: async (batch) => {
        checkBatch(batch)
        return pipeline.run(() => whileAlive(() => session.append(batch)))
      },
      close: () => pipeline.end(new Error('closed')),
    }
  }
  const openReadSession: DurableLog['openReadSession'] = (stream, from, handlers) => {
    if (left >= 0) return log.openReadSession(stream, from, handlers)
    queueMicrotask(() => handlers.onEnd(new LogUnavailableError(new Error('dead'))))
    return { cancel: () => undefined }
  }
  return new Proxy(log, {
    get(target, property) {
      if (property === 'openReadSession') return openReadSession
      if (property === 'append') return append
      if (property === 'openAppendSession') return openAppendSession
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        if (left < 0) return Promise.reject(new LogUnavailableError(new Error('dead')))
        return value.apply(target, args) as unknown
      }
    },
  })
}
