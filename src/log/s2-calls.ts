/**
 * Bounds every call in time.
 *
 * The SDK has no time-out of its own for unary calls, and it does not notice a signal that is
 * aborted before the call. Knows nothing of S2.
 */

import { LogUnavailableError } from '../errors.ts'

/** A call was given up at its deadline. */
export class NoAnswerError extends Error {
  constructor(timeoutMs: number) {
    super(`no answer within ${timeoutMs} ms`)
  }
}

/** Runs calls that end by their deadline, their caller's signal or `close`, whichever is first. */
export class BoundedCalls {
  readonly #timeoutMs: number
  readonly #running = new Set<AbortController>()
  #phase: 'open' | 'closed' = 'open'

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  /**
   * Runs one call and gives it the signal to pass on.
   *
   * Rejects at the deadline even when the call ignores that signal. A call that is given up may
   * still take effect.
   */
  async run<T>(call: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#phase === 'closed') throw new LogUnavailableError(closed())
    if (signal?.aborted) throw callerGaveUp(signal)
    const controller = new AbortController()
    const timer = setTimeout(() => {
      controller.abort(new NoAnswerError(this.#timeoutMs))
    }, this.#timeoutMs)
    // By hand and not `AbortSignal.any`: that keeps every call alive for as long as the caller's
    // signal lives.
    const giveUp = () => {
      if (signal !== undefined) controller.abort(callerGaveUp(signal))
    }
    signal?.addEventListener('abort', giveUp, { once: true })
    this.#running.add(controller)
    try {
      return await orAborted(call(controller.signal), controller.signal)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', giveUp)
      this.#running.delete(controller)
    }
  }

  /** Gives up what is running and refuses what comes. */
  close(): void {
    this.#phase = 'closed'
    for (const controller of this.#running) controller.abort(closed())
  }
}

/** Waits for `promise` for as long as `signal` is not aborted, and rejects with its reason then. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      reject(abortReason(signal))
    }
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    void promise.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', abort)
    })
  })
}

function abortReason({ reason }: { readonly reason: unknown }): Error {
  return reason instanceof Error ? reason : new Error('the call was given up', { cause: reason })
}

function closed(): Error {
  return new Error('the log is closed')
}

function callerGaveUp(signal: { readonly reason: unknown }): Error {
  return new Error('the caller gave up', { cause: signal.reason })
}
