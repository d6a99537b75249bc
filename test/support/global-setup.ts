/** Says loudly, once a run, when the real s2-lite is missing and its tests are skipped. */
import { findS2Lite } from './s2-lite.ts'

const WARNING = `
############################################################################
##
##  s2-lite is NOT installed: every test against a real S2 is SKIPPED.
##  The embedded log is then compared with nothing but its own promises.
##
##      npm run s2-lite:install     (needs cargo, about ten minutes, once)
##
############################################################################
`

/** Set in the environment of the vitest process: each project runs the global setup anew. */
const SAID = 'S2_LITE_WARNING_SAID'

export default function setup(): void {
  if (findS2Lite() !== undefined) return
  if (process.env['REQUIRE_S2_LITE'] === '1') {
    throw new Error('REQUIRE_S2_LITE=1, and s2-lite is missing: npm run s2-lite:install')
  }
  if (process.env[SAID] === '1') return
  process.env[SAID] = '1'
  console.warn(WARNING)
}
