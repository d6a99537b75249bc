/**
 * The latest batches of a stream: a contiguous suffix of its data, bounded in records and bytes.
 * No I/O. Subscribers are positions in it.
 */
import { invariant } from '../errors.ts'
import type { SeqNum } from '../log/log.ts'
import type { DataRecord } from '../streams/codec.ts'

/** Data that arrived together; `end` is the position after it. Shared by all who read it. */
export type Batch = { readonly records: readonly DataRecord[]; readonly end: SeqNum }

export type RingLimits = { readonly maxRecords: number; readonly maxBytes: number }

/** `rest` is the part of the batch that was last asked for from its middle. */
type Slot = { readonly batch: Batch; bytes: number; rest?: Batch }

export class Ring {
  readonly #limits: RingLimits
  #slots: Slot[] = []
  /** Slots before this index were dropped; the array is compacted now and then. */
  #head = 0
  #start: SeqNum
  #end: SeqNum
  #records = 0
  /** What the last poll collected, for the others at its position. */
  #collected: { position: SeqNum; tail: SeqNum; batch: Batch } | undefined
  #bytes = 0

  constructor(start: SeqNum, limits: RingLimits) {
    this.#start = start
    this.#end = start
    this.#limits = limits
  }

  /** The earliest position from which the ring has everything. */
  get start(): SeqNum {
    return this.#start
  }

  /** The position after the latest data record. */
  get end(): SeqNum {
    return this.#end
  }

  /** Bytes held: of data, and of what was encoded of it. */
  get bytes(): number {
    return this.#bytes
  }

  /** Bytes held from a position on: all of them for one that it no longer has. */
  bytesFrom(position: SeqNum): number {
    let bytes = 0
    for (let index = this.#find(position); index < this.#slots.length; index += 1) {
      bytes += this.#slots[index]?.bytes ?? 0
    }
    return bytes
  }

  /** Adds the next batch and drops the oldest ones over the limits, but never this one. */
  push(batch: Batch): void {
    const first = batch.records[0]
    invariant(first !== undefined && first.seqNum >= this.#end, 'batches arrive in order')
    const bytes = sizeOf(batch)
    this.#slots.push({ batch, bytes })
    this.#end = batch.end
    this.#records += batch.records.length
    this.#bytes += bytes
    this.#shrink()
    if (this.#head > 64 && this.#head * 2 > this.#slots.length) {
      this.#slots = this.#slots.slice(this.#head)
      this.#head = 0
    }
  }

  /** Drops all it has and goes on at a position: readers before it get the data elsewhere. */
  jump(position: SeqNum): void {
    invariant(position >= this.#end, 'a ring never goes back')
    this.#slots = []
    this.#head = 0
    this.#start = position
    this.#end = position
    this.#records = 0
    this.#bytes = 0
    this.#collected = undefined
  }

  /**
   * Counts bytes that are kept with the records of a batch or its rest, and drops the oldest
   * batches over the limits, but never the latest. False when it does not have them.
   */
  weigh(records: readonly DataRecord[], bytes: number): boolean {
    const seqNum = records[0]?.seqNum
    const slot = seqNum === undefined ? undefined : this.#slots[this.#find(seqNum)]
    if (slot?.batch.records !== records && slot?.rest?.records !== records) return false
    slot.bytes += bytes
    this.#bytes += bytes
    this.#shrink()
    return true
  }

  #shrink(): void {
    while (this.#isOver() && this.#slots.length - this.#head > 1) this.#drop()
  }

  #isOver(): boolean {
    return this.#records > this.#limits.maxRecords || this.#bytes > this.#limits.maxBytes
  }

  #drop(): void {
    const slot = this.#slots[this.#head]
    invariant(slot !== undefined, 'the head is a slot')
    this.#slots[this.#head] = EMPTY_SLOT
    this.#head += 1
    this.#start = slot.batch.end
    this.#records -= slot.batch.records.length
    this.#bytes -= slot.bytes
  }

  /**
   * The next data at a position: the rest of the batch it lies in, or the batch after it. The
   * very same object for all who stand between two batches, and for those who one after the other
   * stand at the same place inside one. Undefined at the end.
   */
  next(position: SeqNum): Batch | undefined {
    invariant(position >= this.#start, 'the ring has this position')
    const slot = this.#slots[this.#find(position)]
    if (slot === undefined) return undefined
    const { batch } = slot
    const first = batch.records.findIndex(({ seqNum }) => seqNum >= position)
    if (first === 0) return batch
    if (slot.rest?.records[0] !== batch.records[first]) {
      slot.rest = { records: batch.records.slice(first), end: batch.end }
    }
    return slot.rest
  }

  /**
   * Everything from a position on as one batch, up to a bound that the first batch alone may
   * exceed. The same object for all who ask at a position before more arrives.
   */
  collect(position: SeqNum, { maxRecords, maxBytes }: RingLimits): Batch | undefined {
    const first = this.next(position)
    if (first === undefined || first.end === this.#end) return first
    const { position: at, tail, batch } = this.#collected ?? {}
    if (at === position && tail === this.#end && batch !== undefined) return batch
    const records = [...first.records]
    let end = first.end
    let bytes = sizeOf(first)
    for (let next = this.next(end); next !== undefined; next = this.next(end)) {
      bytes += sizeOf(next)
      if (records.length + next.records.length > maxRecords || bytes > maxBytes) break
      records.push(...next.records)
      end = next.end
    }
    this.#collected = { position, tail: this.#end, batch: { records, end } }
    return this.#collected.batch
  }

  /** Index of the first slot that ends after the position. */
  #find(position: SeqNum): number {
    // Most readers are at the latest batch.
    let low = this.#head
    let high = this.#slots.length
    if (position >= (this.#slots[high - 2]?.batch.end ?? this.#start)) low = Math.max(low, high - 1)
    while (low < high) {
      const middle = (low + high) >>> 1
      const end = this.#slots[middle]?.batch.end ?? 0
      if (end > position) high = middle
      else low = middle + 1
    }
    return low
  }
}

function sizeOf({ records }: Batch): number {
  return records.reduce((sum, { body }) => sum + body.length, 0)
}

const EMPTY_SLOT: Slot = { batch: { records: [], end: 0 }, bytes: 0 }
