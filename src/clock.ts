/** Time and chance, as arguments: real in the process, by hand in tests. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Milliseconds since some moment in the past. Goes on evenly when the time of day is set. */
  elapsed(): number
  /**
   * Calls `run` once after `ms`, of which 0 means the next round of the event loop; the returned
   * function cancels it. Never keeps the process up.
   */
  after(ms: number, run: () => void): () => void
  /** Uniform in [0, 1). */
  random(): number
}

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after: (ms, run) => {
    if (ms === 0) {
      const next = setImmediate(run)
      return () => clearImmediate(next)
    }
    const timer = setTimeout(run, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
  random: () => Math.random(),
}

/** Resolves after `ms`. */
export function sleep(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve)
  })
}

/** Lets everything else that is ready have its turn: one round of the event loop. */
export function breathe(clock: Clock): Promise<void> {
  return sleep(clock, 0)
}

/** Bounds of the wait before something is tried again, in ms. */
export type Backoff = { readonly firstMs: number; readonly longestMs: number }

/**
 * How long to wait before the next attempt, in ms; `attempt` counts from 0. The bound doubles with
 * each one, and half of it is chance: those that one outage has hit must not come back together.
 */
export function backoffMs(clock: Clock, attempt: number, { firstMs, longestMs }: Backoff): number {
  const bound = Math.min(longestMs, firstMs * 2 ** Math.min(attempt, 10))
  return bound * (0.5 + clock.random() / 2)
}
