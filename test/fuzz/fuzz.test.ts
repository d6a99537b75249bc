/**
 * A million hostile requests to a real process: nothing breaks, nothing leaks, nothing is written.
 * `README.md` here says how to use it.
 */
import { randomInt } from 'node:crypto'
import { expect, test } from 'vitest'
import { temporaryDirectory } from '../support/temporary.ts'
import { report, summary } from './report.ts'
import { fuzz } from './run.ts'
import type { Plan } from './run.ts'

/** A run takes some four minutes on two cores. */
const TIMEOUT_MS = 30 * 60 * 1000
/** Room for seeds that people type. */
const MAX_SEED = 1_000_000

function planOf({ AUTH, SEED, REQUESTS, ONLY }: NodeJS.ProcessEnv): Plan {
  return {
    auth: AUTH === 'none' ? 'none' : 'jwt',
    seed: SEED === undefined ? randomInt(MAX_SEED) : Number(SEED),
    requests: Number(REQUESTS ?? 1_000_000),
    patienceMs: 1000,
    pauseMs: 3000,
    logLevel: 'warn',
    only: ONLY === undefined ? undefined : Number(ONLY),
  }
}

test('a million hostile requests', { timeout: TIMEOUT_MS }, async () => {
  const plan = planOf(process.env)
  process.stdout.write(`seed ${plan.seed}\n`)
  const result = await fuzz(plan, await temporaryDirectory())
  process.stdout.write(`${summary(plan, result)}\n`)
  if (result.failures.length + result.findings.length > 0) expect.fail(report(plan, result))
})
