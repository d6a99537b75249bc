/** What a balancer decides: the gateway that the next connection goes to. */
export class Rotation {
  #bases: readonly string[] = []
  #turn = 0

  /** Where connections go from now on: `http://127.0.0.1:<port>` each. */
  route(bases: readonly string[]): void {
    this.#bases = bases
  }

  /** The URL of a stream at the next of them. */
  stream(name: string): string {
    this.#turn += 1
    return `${this.#bases[this.#turn % this.#bases.length] ?? ''}/v1/stream/${name}`
  }
}
