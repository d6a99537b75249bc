/**
 * A chunk, and what its readers share of it: the rest of it from a position on, and portions that
 * are sent at once. No I/O.
 */
import type { SeqNum } from '../log/log.ts'
import type { DataRecord } from './codec.ts'

/** Data that is sent at once, and the position after it: records tell one from another. */
export type Portion = { readonly records: readonly DataRecord[]; readonly end: SeqNum }

/**
 * The data of the records from where the read began up to `end`. Some hold no data at all.
 * Messages are whole: `end` is before one that began, or after it.
 */
export type Found = Portion & {
  /** The data tail lies inside a message, which is not part of it. */
  readonly isCut?: true
}

/** What a reader gets of a chunk. */
export type Chunk = Portion & {
  /** All its data, in order. Whoever begins where, those who read on get the same objects. */
  readonly portions: readonly Portion[]
}

/** What records were made for: a chunk and its portions, or one of its slices. */
type Owner = { readonly chunk: SharedChunk; readonly slice?: Chunk | undefined }

/** Whose the records are that something was encoded of. */
export type Owners = WeakMap<readonly DataRecord[], Owner>

/** A message that is larger is a portion by itself. */
const PORTION_BYTES = 64 * 1024
/** What the bookkeeping of a record costs in memory, roughly; keeps tiny records bounded. */
const RECORD_OVERHEAD_BYTES = 256
/** What a record costs in each slice that has it: a place in its list, and in that of a portion. */
const SLICED_RECORD_BYTES = 32
/** Whoever falls behind together is at the same position; others share from the next portion on. */
const MAX_SLICES = 16

export class SharedChunk {
  readonly start: SeqNum
  readonly end: SeqNum
  readonly isCut: boolean
  readonly dataBytes: number
  readonly #whole: Chunk
  readonly #owners: Owners
  readonly #slices = new Map<string, Chunk>()
  /** What was encoded of it; what those slices take, and what was encoded of them. */
  #encodedBytes = 0
  #slicesBytes = 0

  constructor({ records, end, isCut }: Found, start: SeqNum, owners: Owners) {
    this.start = start
    this.end = end
    this.isCut = isCut === true
    this.dataBytes = records.reduce((sum, { body }) => sum + body.length, 0)
    this.#owners = owners
    this.#whole = new CutLater(records, end, () => this.#own(cut(records, end)))
    owners.set(records, { chunk: this })
  }

  /** What it takes of memory, together with what is kept for as long as it is. */
  get bytes(): number {
    const { length } = this.#whole.records
    const data = 1 + this.dataBytes + length * RECORD_OVERHEAD_BYTES
    return data + this.#encodedBytes + this.#slicesBytes
  }

  /** Whether it has what comes next at a position. */
  holds(position: SeqNum): boolean {
    return this.start <= position && position < this.end
  }

  /** What of it lies between two positions, of which it holds the first. */
  slice(from: SeqNum, to: SeqNum): Chunk {
    const end = Math.min(this.end, to)
    if (from === this.start && end === this.end) return this.#whole
    const key = `${from}:${end}`
    const known = this.#slices.get(key)
    if (known !== undefined) return known
    if (this.#slices.size === MAX_SLICES) {
      this.#slices.clear()
      this.#slicesBytes = 0
    }
    const records = within(this.#whole.records, from, end)
    const slice: Chunk = new CutLater(records, end, () =>
      this.#own(between(this.#whole.portions, from, end), slice),
    )
    this.#owners.set(slice.records, { chunk: this, slice })
    this.#slices.set(key, slice)
    this.#slicesBytes += records.length * SLICED_RECORD_BYTES
    return slice
  }

  /** Counts what was encoded of records of it. */
  weigh({ slice }: Owner, bytes: number): void {
    if (slice === undefined) this.#encodedBytes += bytes
    else if ([...this.#slices.values()].includes(slice)) this.#slicesBytes += bytes
  }

  #own(portions: readonly Portion[], slice?: Chunk): readonly Portion[] {
    const owner: Owner = { chunk: this, slice }
    for (const { records } of portions) {
      // Those that a slice shares are the chunk's.
      if (!this.#owners.has(records)) this.#owners.set(records, owner)
    }
    return portions
  }
}

/** Most of them are never sent in portions: answers to polls and plain reads are whole chunks. */
class CutLater implements Chunk {
  readonly records: readonly DataRecord[]
  readonly end: SeqNum
  readonly #cut: () => readonly Portion[]
  #portions: readonly Portion[] | undefined

  constructor(records: readonly DataRecord[], end: SeqNum, cut: () => readonly Portion[]) {
    this.records = records
    this.end = end
    this.#cut = cut
  }

  get portions(): readonly Portion[] {
    this.#portions ??= this.#cut()
    return this.#portions
  }
}

function cut(records: readonly DataRecord[], end: SeqNum): Portion[] {
  const portions: Portion[] = []
  let first = 0
  let bytes = 0
  for (const [index, { body }] of records.entries()) {
    const last = records[index - 1]
    if (last !== undefined && index > first && bytes + body.length > PORTION_BYTES) {
      portions.push({ records: records.slice(first, index), end: last.seqNum + 1 })
      first = index
      bytes = 0
    }
    bytes += body.length
  }
  if (first === 0) return records.length === 0 ? [] : [{ records, end }]
  return [...portions, { records: records.slice(first), end }]
}

/** The very same portions but for the first and the last, which may lie there only in part. */
function between(portions: readonly Portion[], from: SeqNum, end: SeqNum): Portion[] {
  return portions
    .filter((portion) => portion.end > from)
    .map((portion) => {
      const records = within(portion.records, from, end)
      if (records.length === portion.records.length && portion.end <= end) return portion
      return { records, end: Math.min(portion.end, end) }
    })
    .filter(({ records }) => records.length > 0)
}

/** The messages that begin at a position or after it, and end before another. */
function within(records: readonly DataRecord[], from: SeqNum, end: SeqNum): DataRecord[] {
  return records.filter(({ seqNum, begin = seqNum }) => begin >= from && seqNum < end)
}
