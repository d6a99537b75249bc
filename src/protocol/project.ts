/**
 * Projects: the first segment of a name, where each has a basin of its own. PURE.
 *
 * A basin is called by a prefix and the project, so that what a project may be called follows from
 * what a basin may be.
 */

/** S2's bounds on the name of a basin. */
const BASIN_LENGTH = { min: 8, max: 48 }

const PROJECT = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/

export class ProjectRule {
  readonly #minLength: number
  readonly #maxLength: number

  /** Without a prefix, where there are no basins, a project may be what it may be with any. */
  constructor(basinPrefix?: string) {
    const min = basinPrefix === undefined ? 1 : BASIN_LENGTH.min - basinPrefix.length
    this.#minLength = Math.max(min, 1)
    this.#maxLength = BASIN_LENGTH.max - (basinPrefix?.length ?? 1)
  }

  /** What a project is, for messages. */
  get description(): string {
    return `${this.#minLength} to ${this.#maxLength} of a-z, 0-9 and inner hyphens`
  }

  allows(text: string): boolean {
    return text.length >= this.#minLength && text.length <= this.#maxLength && PROJECT.test(text)
  }
}

/**
 * The basin for our own names, of which no project can be: none begins with a hyphen. So no client
 * gets at them by the name of a stream.
 */
export function gatewayBasin(basinPrefix: string): string {
  return `${basinPrefix}-gateway`
}
