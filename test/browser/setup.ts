/** Runs once before the suites: says if there is no browser. */
import { BROWSER_DEMANDS } from '../support/browser.ts'
import { demandAll } from '../support/programs.ts'

export default function setup(): void {
  demandAll(BROWSER_DEMANDS, 'REQUIRE_BROWSER')
}
