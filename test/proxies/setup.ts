/** Runs once before the suites: says which proxies are missing. */
import { demandAll } from '../support/programs.ts'
import { PROXIES } from './proxies.ts'

const OPENSSL = { package: 'openssl', programs: ['openssl'] }

export default function setup(): void {
  demandAll([...PROXIES, OPENSSL], 'REQUIRE_PROXIES')
}
