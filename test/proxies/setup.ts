/** Runs once before the suites: says which proxies are missing. */
import { demandAll } from '../support/programs.ts'
import { PROXIES } from './proxies.ts'

export default function setup(): void {
  demandAll(PROXIES, 'REQUIRE_PROXIES')
}
