/** Figures of several rounds, and how they are shown. */

/** A variable of the environment that is a number. */
export function number(name: string, fallback: number): number {
  return Number(process.env[name] ?? fallback)
}

/** NaN of none; of an even count the upper of the two in the middle. */
export function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? NaN
}

/** What there is not is an empty cell. */
export function rounded(figure: number | undefined, digits: number): number | string {
  return figure === undefined || !Number.isFinite(figure) ? '' : Number(figure.toFixed(digits))
}

/** From here on a core is the bottleneck, or who works on it. */
export const FULL = 0.97
