/** A little of `test/fuzz`, so that it works when it is needed, and with each request's log line. */
import { expect, test } from 'vitest'
import { report } from '../fuzz/report.ts'
import { fuzz } from '../fuzz/run.ts'
import type { Plan } from '../fuzz/run.ts'
import { temporaryDirectory } from '../support/temporary.ts'

test('some thousand hostile requests break nothing', { timeout: 60_000 }, async () => {
  const plan: Plan = {
    auth: 'jwt',
    seed: 1,
    requests: 2500,
    // Beside other suites the machine is late by itself.
    patienceMs: 10_000,
    pauseMs: 400,
    logLevel: 'info',
    only: undefined,
  }
  const result = await fuzz(plan, await temporaryDirectory())
  if (result.failures.length + result.findings.length > 0) expect.fail(report(plan, result))
  expect(result.requests).toBeGreaterThanOrEqual(plan.requests)
})
