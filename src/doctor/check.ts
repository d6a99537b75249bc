/** What a check is, and what it says. */
import type { Context } from './context.ts'
import type { Remedy } from './remedies.ts'

export type Status = 'ok' | 'warn' | 'fail' | 'skip'

export type Verdict = {
  readonly status: Status
  /** What was seen, in a sentence. */
  readonly seen: string
  /** Which settings mend it; of the proxies that were seen the report names these. */
  readonly remedy?: Remedy | undefined
  /** What was measured, for programs. Times are in ms. */
  readonly measured?: Readonly<Record<string, string | number | boolean>>
}

export type Check = {
  readonly id: string
  /** What it proves, when it is ok. */
  readonly title: string
  /** Most of its time it waits: it may run beside the others. */
  readonly isQuiet?: true
  /** @throws WireError which the runner takes for a failure of the check */
  readonly run: (context: Context) => Promise<Verdict>
}

/** A check that has run. */
export type Result = Verdict & Pick<Check, 'id' | 'title'> & { readonly tookMs: number }

export const ok = (seen: string, measured?: Verdict['measured']): Verdict =>
  verdict('ok', seen, measured && { measured })

export const skip = (seen: string): Verdict => verdict('skip', seen)

export const warn = (seen: string, more: Partial<Verdict> = {}): Verdict =>
  verdict('warn', seen, more)

export const fail = (seen: string, more: Partial<Verdict> = {}): Verdict =>
  verdict('fail', seen, more)

function verdict(status: Status, seen: string, more: Partial<Verdict> = {}): Verdict {
  const { remedy, measured } = more
  return {
    status,
    seen,
    ...(remedy !== undefined && { remedy }),
    ...(measured !== undefined && { measured }),
  }
}

/** What those say that read events, where none come. */
export const NO_EVENTS = 'no events come at all: see sse-delivery'

/** Milliseconds for people. */
export function inWords(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}
