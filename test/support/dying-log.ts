/** A log whose gateway dies: after so many appends, nothing gets through any more. */
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import type { DurableLog } from '../../src/log/log.ts'

export type Death = {
  /** Appends that go well before it. */
  readonly appends: number
  /** Whether one more is stored that nobody hears of. */
  readonly lastIsStored: boolean
}

export function dyingLog(log: DurableLog, { appends, lastIsStored }: Death): DurableLog {
  let left = appends
  const append: DurableLog['append'] = async (stream, batch) => {
    left -= 1
    if (left >= 0) return log.append(stream, batch)
    if (left === -1 && lastIsStored) {
      await log.append(stream, batch)
      throw new AppendOutcomeUnknownError(new Error('died'))
    }
    throw new LogUnavailableError(new Error('dead'))
  }
  return new Proxy(log, {
    get(target, property) {
      if (property === 'append') return append
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        if (left < 0) return Promise.reject(new LogUnavailableError(new Error('dead')))
        return value.apply(target, args) as unknown
      }
    },
  })
}
