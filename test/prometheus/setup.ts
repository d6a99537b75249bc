/** Runs once before the suites: says that Prometheus is missing. */
import { demandAll } from '../support/programs.ts'
import { PROMETHEUS } from './prometheus.ts'

export default function setup(): void {
  demandAll([PROMETHEUS], 'REQUIRE_PROMETHEUS')
}
