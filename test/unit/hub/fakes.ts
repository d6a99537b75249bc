/** What hub tests share: a log whose read sessions the test speaks for, and records. */
import { ManualClock } from '../../support/manual-clock.ts'
import { Hub } from '../../../src/hub/hub.ts'
import type { HubOptions } from '../../../src/hub/hub.ts'
import type { HubState } from '../../../src/hub/machine.ts'
import type { HubStream } from '../../../src/hub/stream.ts'
import type { Subscriber } from '../../../src/hub/subscriber.ts'
import type {
  AppendRecord,
  DurableLog,
  LogRecord,
  ReadSession,
  ReadSessionHandlers,
  SeqNum,
} from '../../../src/log/log.ts'
import { withCommit } from '../../../src/journal/envelope.ts'
import { encodeAbort, encodeBegin } from '../../../src/journal/lock.ts'
import {
  encodeClosed,
  encodeData,
  encodeDeleted,
  encodePart,
  encodeTouch,
} from '../../../src/streams/codec.ts'
import type { DataRecord } from '../../../src/streams/codec.ts'
import { NO_LINEAGE } from '../../../src/streams/lineage.ts'

const NO_CHECKPOINT = { checkpoint: undefined }

const stored = (seqNum: SeqNum, record: AppendRecord): LogRecord => ({
  ...record,
  seqNum,
  timestamp: 1_700_000_000_000,
})

/** A data record whose body is `r<seqNum>` or the text given. */
export const data = (seqNum: SeqNum, body = `r${seqNum}`): LogRecord =>
  stored(seqNum, encodeData(Buffer.from(body), NO_CHECKPOINT))

export const finalData = (seqNum: SeqNum): LogRecord =>
  stored(seqNum, encodeData(Buffer.from(`r${seqNum}`), NO_CHECKPOINT, {}, true))

export const closed = (seqNum: SeqNum): LogRecord => stored(seqNum, encodeClosed(NO_CHECKPOINT, {}))

export const touch = (seqNum: SeqNum): LogRecord => stored(seqNum, encodeTouch(NO_CHECKPOINT))

export const deleted = (seqNum: SeqNum): LogRecord => stored(seqNum, encodeDeleted('t'))

/** The records of a group `g`. */
export const group = {
  begin: (seqNum: SeqNum): LogRecord =>
    stored(seqNum, encodeBegin({ id: 'g', owner: 'o', openToken: '' }, NO_CHECKPOINT)),
  part: (seqNum: SeqNum): LogRecord => stored(seqNum, encodePart(Buffer.from(`r${seqNum}`))),
  commit: (seqNum: SeqNum, closes = false): LogRecord =>
    stored(
      seqNum,
      withCommit(encodeData(Buffer.from(`r${seqNum}`), NO_CHECKPOINT, {}, closes), 'g'),
    ),
  abort: (seqNum: SeqNum): LogRecord => stored(seqNum, encodeAbort('g', NO_CHECKPOINT)),
}

/** What an S2 client writes directly. */
export const direct = (seqNum: SeqNum): LogRecord =>
  stored(seqNum, { kind: 'data', headers: [], body: Buffer.from(`r${seqNum}`) })

/** A control record of ours that no gateway can read. */
export const broken = (seqNum: SeqNum): LogRecord =>
  stored(seqNum, { kind: 'data', headers: [['ds', 'checkpoint']], body: Buffer.from('?') })

export class FakeSession implements ReadSession {
  cancelled = false
  readonly from: SeqNum
  readonly handlers: ReadSessionHandlers

  constructor(from: SeqNum, handlers: ReadSessionHandlers) {
    this.from = from
    this.handlers = handlers
  }

  cancel(): void {
    this.cancelled = true
  }

  /** What does not end with a batch of the log: the rest is to come. */
  giveSome(...records: LogRecord[]): void {
    this.handlers.onRecords(records, false)
  }

  give(...records: LogRecord[]): void {
    this.handlers.onRecords(records, true)
  }
}

/** Records the sessions that were opened; every other call fails. */
export class FakeLog {
  readonly sessions: FakeSession[] = []
  /** Thrown by the next attempt to open a session. */
  refusal: Error | undefined

  openReadSession(_stream: string, from: SeqNum, handlers: ReadSessionHandlers): ReadSession {
    const { refusal } = this
    this.refusal = undefined
    if (refusal !== undefined) throw refusal
    const session = new FakeSession(from, handlers)
    this.sessions.push(session)
    return session
  }

  get last(): FakeSession {
    return this.sessions.at(-1)!
  }

  get open(): number {
    return this.sessions.filter(({ cancelled }) => !cancelled).length
  }
}

export const STREAM: HubStream = {
  name: 's',
  incarnation: 'i1',
  contentType: 'text/plain',
  base: 2,
  start: 2,
  dataTail: 10,
  nextSeq: 11,
  lastDataAt: 1_700_000_000_000,
  aborted: [],
  voids: [],
  held: undefined,
  lock: undefined,
  closed: false,
  isPublic: false,
  lineage: NO_LINEAGE,
  ttlMs: undefined,
  endsAt: undefined,
}

/** A reader that writes down what happens to it. */
export class Witness implements Subscriber {
  readonly calls: string[] = []
  readonly onWake: () => void
  readonly transport: Subscriber['transport']

  constructor(
    onWake: () => void = () => undefined,
    transport: Subscriber['transport'] = 'long-poll',
  ) {
    this.onWake = onWake
    this.transport = transport
  }

  wake(): void {
    this.calls.push('wake')
    this.onWake()
  }

  stop(reason: string): void {
    this.calls.push(`stop: ${reason}`)
  }
}

export type Scene = {
  readonly hub: Hub
  readonly log: FakeLog
  readonly clock: ManualClock
  readonly states: HubState[]
  readonly absorbed: SeqNum[]
  readonly renewed: string[]
  readonly errors: unknown[]
  readonly released: Hub[]
}

export const IDLE_MS = 60_000

/** A hub over a fake log and a manual clock, and all that it tells its owner. */
export function startHub(
  stream: Partial<HubStream> = {},
  options: Partial<HubOptions> = {},
): Scene {
  const log = new FakeLog()
  const clock = new ManualClock()
  const told = {
    states: [] as HubState[],
    absorbed: [] as SeqNum[],
    renewed: [] as string[],
    errors: [] as unknown[],
    released: [] as Hub[],
  }
  const hub = new Hub(
    { ...STREAM, ...stream },
    {
      log: log as unknown as DurableLog,
      clock,
      ring: { maxRecords: 100, maxBytes: 10_000 },
      idleMs: IDLE_MS,
      onRecords: (_stream, records) => told.absorbed.push(...records.map(({ seqNum }) => seqNum)),
      onRenew: (name) => told.renewed.push(name),
      onTransition: (_stream, { to }) => told.states.push(to),
      onSubscriberError: (_stream, error) => told.errors.push(error),
      onReleased: (released) => told.released.push(released),
      ...options,
    },
  )
  return { hub, log, clock, ...told }
}

/** A data record as the ring holds it. */
export const dataRecord = (seqNum: SeqNum, body = `r${seqNum}`): DataRecord => ({
  seqNum,
  timestamp: 0,
  body: Buffer.from(body),
})

/** Everything the hub has from a position on, as text. */
export function readAll(hub: Hub, from: SeqNum): string[] {
  const bodies: string[] = []
  for (let position = from; ;) {
    const next = hub.next(position)
    if (next.kind !== 'batch') return bodies
    bodies.push(...next.batch.records.map(({ body }) => Buffer.from(body).toString()))
    position = next.batch.end
  }
}
