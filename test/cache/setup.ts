/** Runs once before the suites: says which caches are missing. */
import { demandAll } from '../support/programs.ts'
import { SHARED_CACHES } from './caches.ts'

export default function setup(): void {
  demandAll(SHARED_CACHES, 'REQUIRE_CACHES')
}
