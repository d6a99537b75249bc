/** Runs once before the suites: says which tools are missing. */
import { whatIsMissing } from './tools.ts'

export default function setup(): void {
  const missing = whatIsMissing()
  if (missing === undefined) return
  if (process.env['REQUIRE_HELM'] === '1') throw new Error(`REQUIRE_HELM=1, and ${missing}`)
  console.warn(`\n##  ${missing}\n##  The tests that need them are SKIPPED.\n`)
}
