/**
 * What a suite has to end, whatever became of its start: call `run` in `afterAll`, which vitest
 * also calls when `beforeAll` has failed half-way.
 */
export class CleanUps {
  readonly #pending: (() => Promise<unknown>)[] = []

  add(cleanUp: () => Promise<unknown>): void {
    this.#pending.push(cleanUp)
  }

  /** Ends everything, the latest first, and reports what could not be ended. */
  async run(): Promise<void> {
    const failures: unknown[] = []
    for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) {
      await next().catch((error: unknown) => failures.push(error))
    }
    if (failures.length > 0) throw new AggregateError(failures, 'not everything could be ended')
  }
}
