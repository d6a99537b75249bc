/** Runs checks: the quiet ones beside the others, which come one after the other. */
import { fail } from './check.ts'
import type { Check, Result, Verdict } from './check.ts'
import type { Context } from './context.ts'
import { CreateError } from './scratch.ts'
import { WireError } from './wire.ts'

/** Hears of each result as soon as it is there. */
export type OnResult = (result: Result) => void

/**
 * Runs them all, and returns the results in their order. A check that breaks has failed; the others
 * go on. When `signal` is aborted none is begun any more.
 */
export async function runChecks(
  checks: readonly Check[],
  context: Context,
  { signal, onResult }: { readonly signal: AbortSignal; readonly onResult: OnResult },
): Promise<readonly Result[]> {
  const results = new Map<Check, Result>()
  const run = async (check: Check): Promise<void> => {
    const result = await resultOf(check, context)
    if (signal.aborted) return
    results.set(check, result)
    onResult(result)
  }
  const quiet = checks.filter(({ isQuiet }) => isQuiet === true).map(run)
  for (const check of checks) {
    if (signal.aborted) break
    if (check.isQuiet !== true) await run(check)
  }
  await Promise.all(quiet)
  return checks.flatMap((check) => results.get(check) ?? [])
}

async function resultOf(check: Check, context: Context): Promise<Result> {
  const startedAt = performance.now()
  const verdict = await check.run(context).catch(brokenBy)
  const { id, title } = check
  return { id, title, ...verdict, tookMs: performance.now() - startedAt }
}

function brokenBy(error: unknown): Verdict {
  if (error instanceof CreateError) {
    return fail(`a stream could not be created: ${error.message}`, {
      remedy: error.status === 401 || error.status === 403 ? 'token' : 'methods',
    })
  }
  if (error instanceof WireError) return fail(`it broke off: ${error.message}`)
  return fail(`it broke off by a fault of the doctor: ${String(error)}`)
}
