import { describe, expect, test } from 'vitest'
import { BeyondTailError, LogStreamMissingError } from '../../../src/log/log.ts'
import {
  IDLE_MS,
  STREAM,
  Witness,
  broken,
  closed,
  data,
  deleted,
  direct,
  finalData,
  group,
  readAll,
  startHub,
  touch,
} from './fakes.ts'

const { begin, part, commit, abort } = group
const DAY_MS = 24 * 60 * 60 * 1000

describe('following', () => {
  test('begins at the tail, with one session for many readers', () => {
    const { hub, log } = startHub()
    const readers = Array.from({ length: 1000 }, () => new Witness())
    for (const reader of readers) hub.add(reader)
    log.last.give(data(11), data(12))
    expect(log.sessions.map(({ from }) => from)).toEqual([STREAM.nextSeq])
    expect(readers.every(({ calls }) => calls.join() === 'wake')).toBe(true)
    expect(readAll(hub, STREAM.dataTail)).toEqual(['r11', 'r12'])
  })

  test('hands every record to the stream it belongs to, once', () => {
    const { log, absorbed } = startHub()
    log.last.give(data(11), touch(12))
    log.last.give(data(12), data(13))
    expect(absorbed).toEqual([11, 12, 13])
  })

  test('wakes nobody for records that are no data, and does not move the tail', () => {
    const { hub, log } = startHub()
    const reader = new Witness()
    hub.add(reader)
    log.last.give(touch(11))
    expect([reader.calls, hub.tail]).toEqual([[], STREAM.dataTail])
  })

  test('tells of each batch that goes out to readers, before and after, once for all of them', () => {
    const told: string[] = []
    const { hub, log } = startHub(
      {},
      {
        onDelivery: ({ stream, records, readers }) => {
          told.push(`${stream}: ${records.length} to ${readers}`)
          return () => told.push('done')
        },
      },
    )
    log.last.give(data(11))
    expect(told).toEqual([])
    for (let readers = 0; readers < 2; readers += 1) hub.add(new Witness(() => told.push('wake')))
    log.last.give(data(12), touch(13), data(14))
    log.last.give(touch(15))
    expect(told).toEqual([`${STREAM.name}: 2 to 2`, 'wake', 'wake', 'done'])
  })

  test('calls the newest data up to date, and nothing else', () => {
    const { hub, log } = startHub()
    log.last.give(data(11))
    log.last.give(data(12), touch(13))
    expect(hub.next(10)).toMatchObject({ kind: 'batch', upToDate: false, closed: false })
    expect(hub.next(12)).toMatchObject({ kind: 'batch', upToDate: true, closed: false })
    expect(hub.next(13)).toEqual({ kind: 'tail', end: 13, closed: false })
    expect(hub.next(9)).toEqual({ kind: 'behind' })
  })

  test('calls nothing up to date that may be a part of an append, until the rest is there', () => {
    const { hub, log } = startHub()
    const reader = new Witness()
    hub.add(reader)
    log.last.giveSome(data(11))
    expect(hub.next(10)).toMatchObject({ kind: 'batch', end: 12, upToDate: false })
    expect(hub.isCurrent).toBe(false)
    log.last.give(data(12))
    expect(hub.next(12)).toMatchObject({ kind: 'batch', end: 13, upToDate: true })
    expect([hub.isCurrent, reader.calls]).toEqual([true, ['wake', 'wake']])
  })

  test('wakes its readers when what they have turns out to be all there is', () => {
    const { hub, log } = startHub()
    const readers = [new Witness(), new Witness()]
    for (const reader of readers) hub.add(reader)
    log.last.giveSome(data(11))
    log.last.handlers.onCaughtUp(12)
    log.last.handlers.onCaughtUp(12)
    expect([hub.isCurrent, readers.map(({ calls }) => calls.length)]).toEqual([true, [2, 2]])
    log.last.giveSome(data(12))
    log.last.give(touch(13))
    expect([hub.isCurrent, readers.map(({ calls }) => calls.length)]).toEqual([true, [4, 4]])
  })

  test('takes a reader who knows a later tail at its word', () => {
    const { hub } = startHub()
    expect(hub.next(15)).toEqual({ kind: 'tail', end: 15, closed: false })
  })
})

describe('what is encoded', () => {
  test('counts in the ring, or where else the records are', () => {
    const others: unknown[] = []
    const { hub, log } = startHub(
      {},
      {
        ring: { maxRecords: 100, maxBytes: 500 },
        onEncoded: (records, bytes) => others.push([records, bytes]),
      },
    )
    log.last.give(data(11))
    log.last.give(data(12))
    const first = hub.next(STREAM.dataTail)
    if (first.kind !== 'batch') throw new Error('no batch')
    for (const upToDate of [true, false]) {
      hub.frames.event(first.batch, { end: 12, upToDate, closed: false }, undefined)
    }
    expect(hub.next(STREAM.dataTail).kind).toBe('batch')
    hub.frames.event(first.batch, { end: 12, upToDate: true, closed: true }, undefined)
    // The oldest is out, and the others are still there.
    expect(hub.next(STREAM.dataTail).kind).toBe('behind')
    expect(readAll(hub, 12)).toEqual(['r12'])
    expect(others).toEqual([])
    const { length } = hub.frames.body(first.batch.records)
    expect(others).toEqual([[first.batch.records, length]])
  })
})

describe('a lost session', () => {
  test('is opened again at the next seq num, after waits that double up to 2 s', () => {
    const { hub, log, clock, states } = startHub()
    log.last.give(data(11))
    const waits: (number | undefined)[] = []
    for (let attempt = 0; attempt < 7; attempt += 1) {
      log.last.handlers.onEnd(new Error('reset'))
      waits.push(clock.nextTimerMs)
      clock.advance(clock.nextTimerMs!)
    }
    // The manual clock's chance is a half: three quarters of the bound.
    expect(waits).toEqual([75, 150, 300, 600, 1200, 1500, 1500])
    expect(log.sessions.slice(1).map(({ from }) => from)).toEqual(Array(7).fill(12))
    expect(log.open).toBe(1)
    log.last.handlers.onCaughtUp(12)
    expect(hub.state).toEqual({ phase: 'live', generation: 7 })
    expect(states.map(({ phase }) => phase)).toEqual(['live', 'recovering', 'live'])
  })

  test('starts its waits anew once a session has delivered something', () => {
    const { log, clock } = startHub()
    for (let attempt = 0; attempt < 3; attempt += 1) {
      log.last.handlers.onEnd(undefined)
      expect(clock.nextTimerMs).toBe(75)
      clock.advance(75)
      log.last.handlers.onCaughtUp(11)
    }
  })

  test('keeps its readers, and gives nothing twice', () => {
    const { hub, log, clock } = startHub()
    const reader = new Witness()
    hub.add(reader)
    log.last.give(data(11), data(12))
    log.last.handlers.onEnd(new Error('reset'))
    clock.advance(75)
    log.last.give(data(11), data(12), data(13))
    log.last.give(data(12))
    expect(reader.calls).toEqual(['wake', 'wake'])
    expect(readAll(hub, 10)).toEqual(['r11', 'r12', 'r13'])
  })

  test('wakes its readers once it is known again that there is nothing more', () => {
    const { hub, log, clock } = startHub()
    const reader = new Witness()
    hub.add(reader)
    log.last.handlers.onEnd(new Error('reset'))
    expect(hub.isCurrent).toBe(false)
    clock.advance(75)
    log.last.handlers.onCaughtUp(11)
    log.last.handlers.onCaughtUp(11)
    expect([hub.isCurrent, reader.calls]).toEqual([true, ['wake']])
  })

  test('changes nothing any more by what it calls late', () => {
    const { hub, log, clock } = startHub()
    const late = log.last
    late.handlers.onEnd(new Error('reset'))
    late.give(data(11))
    late.handlers.onCaughtUp(12)
    late.handlers.onEnd(new LogStreamMissingError('s'))
    expect(hub.state).toEqual({ phase: 'recovering', generation: 1, attempt: 1 })
    expect(readAll(hub, 10)).toEqual([])
    clock.advance(75)
    expect(log.sessions).toHaveLength(2)
  })

  test('is tried again when the log refuses to open one at all', () => {
    const { hub, log, clock } = startHub()
    log.refusal = new Error('closing')
    log.last.handlers.onEnd(new Error('reset'))
    clock.advance(75)
    expect(hub.state).toEqual({ phase: 'recovering', generation: 2, attempt: 2 })
    clock.advance(150)
    expect(log.sessions).toHaveLength(2)
  })
})

describe('the end of a hub', () => {
  test.each([
    ['a gap', (log: ReturnType<typeof startHub>['log']) => log.last.give(data(13)), 'gap'],
    // As a deletion shows whose records were trimmed while the session was down.
    ['a tail past records that never came', (log) => log.last.handlers.onCaughtUp(14), 'gap'],
    ['a deletion', (log) => log.last.give(data(11), deleted(12)), 'stream_deleted'],
    [
      'a stream that is no more',
      (log) => log.last.handlers.onEnd(new LogStreamMissingError('s')),
      'stream_deleted',
    ],
    [
      'a log that is shorter than it was',
      (log) => log.last.handlers.onEnd(new BeyondTailError(3)),
      'stream_deleted',
    ],
    ['a record that makes no sense', (log) => log.last.give(broken(11)), 'failed'],
  ] as [string, (log: ReturnType<typeof startHub>['log']) => void, string][])(
    '%s stops it and its readers, once',
    (_name, happen, reason) => {
      const { hub, log, clock, released } = startHub({ ttlMs: 1000, endsAt: 1_800_000_000_000 })
      const readers = [new Witness(), new Witness()]
      for (const reader of readers) hub.add(reader)
      happen(log)
      happen(log)
      expect(hub.state).toEqual({ phase: 'stopped', reason })
      for (const { calls } of readers) expect(calls).toEqual([`stop: ${reason}`])
      expect([log.open, clock.timers, hub.subscribers, released]).toEqual([0, 0, 0, [hub]])
    },
  )

  test('has it call nothing up to date that it was asked for before', () => {
    const { hub, log } = startHub()
    log.last.give(data(11))
    const nexts = () => [hub.next(10), hub.nextAll(10)]
    expect(nexts()).toMatchObject([{ upToDate: true }, { upToDate: true }])
    hub.stop('gap')
    expect(nexts()).toMatchObject([{ upToDate: false }, { upToDate: false }])
  })

  test('leaves no timer behind when a reader leaves afterwards', () => {
    const { hub, clock } = startHub()
    const reader = new Witness()
    hub.add(reader)
    hub.stop('shutdown')
    hub.remove(reader)
    expect(clock.timers).toBe(0)
  })

  test('stops a reader who comes too late, also out of another one being stopped', () => {
    const { hub } = startHub()
    const [late, later] = [new Witness(), new Witness()]
    hub.add({ transport: 'sse', wake: () => undefined, stop: () => hub.add(late) })
    hub.stop('shutdown')
    hub.add(later)
    expect([late.calls, later.calls]).toEqual([['stop: shutdown'], ['stop: shutdown']])
    expect(hub.subscribers).toBe(0)
  })

  test('is cancelled with the wait for the next session', () => {
    const { hub, log, clock } = startHub()
    log.last.handlers.onEnd(new Error('reset'))
    hub.stop('shutdown')
    clock.advance(DAY_MS)
    expect(log.sessions).toHaveLength(1)
  })
})

describe('a closed stream', () => {
  test.each([
    ['a record that closes', [data(11), closed(12)]],
    ['its last data', [finalData(11)]],
  ])('is sealed by %s: readers are woken and the session ends', (_name, records) => {
    const { hub, log } = startHub()
    const reader = new Witness()
    hub.add(reader)
    log.last.give(...records)
    expect(hub.state).toEqual({ phase: 'sealed', generation: 1 })
    expect(reader.calls).toEqual(['wake'])
    expect(hub.next(10)).toMatchObject({ kind: 'batch', upToDate: true, closed: true })
    expect(hub.next(12)).toEqual({ kind: 'tail', end: 12, closed: true })
    expect(log.open).toBe(0)
  })

  test('needs no session when it was closed before', () => {
    const { hub, log } = startHub({ closed: true })
    expect(log.sessions).toEqual([])
    expect(hub.next(10)).toEqual({ kind: 'tail', end: 10, closed: true })
  })

  test('takes nothing more', () => {
    const { hub, log } = startHub()
    log.last.give(closed(11))
    log.last.give(data(12), deleted(13))
    expect(hub.state.phase).toBe('sealed')
    expect(readAll(hub, 10)).toEqual([])
  })
})

describe('readers', () => {
  test('one that throws is out; the others are woken and the hub goes on', () => {
    const { hub, log, errors } = startHub()
    const bug = new Error('a bug')
    const before = new Witness()
    const faulty = new Witness(() => {
      throw bug
    })
    const after = new Witness()
    for (const reader of [before, faulty, after]) hub.add(reader)
    log.last.give(data(11))
    log.last.give(data(12))
    expect([before.calls, after.calls]).toEqual([
      ['wake', 'wake'],
      ['wake', 'wake'],
    ])
    expect(faulty.calls).toEqual(['wake', 'stop: failed'])
    expect([errors, hub.subscribers, hub.state.phase]).toEqual([[bug], 2, 'live'])
  })

  test('one that throws while it is stopped keeps no other from being stopped', () => {
    const { hub, errors } = startHub()
    const other = new Witness()
    hub.add({
      transport: 'sse',
      wake: () => undefined,
      stop: () => {
        throw new Error('a bug')
      },
    })
    hub.add(other)
    hub.stop('shutdown')
    expect([other.calls, errors.length]).toEqual([['stop: shutdown'], 1])
  })

  test('may leave while they are woken', () => {
    const { hub, log } = startHub()
    const second = new Witness()
    const first = new Witness(() => {
      hub.remove(first)
      hub.remove(second)
    })
    hub.add(first)
    hub.add(second)
    log.last.give(data(11))
    expect([first.calls, second.calls, hub.subscribers]).toEqual([['wake'], [], 0])
  })
})

describe('time', () => {
  test('closes a hub that never had a reader after the idle time', () => {
    const { hub, clock } = startHub()
    clock.advance(IDLE_MS - 1)
    expect(hub.state.phase).toBe('starting')
    clock.advance(1)
    expect(hub.state).toEqual({ phase: 'stopped', reason: 'idle' })
  })

  test('counts the idle time from when the last reader left', () => {
    const { hub, log, clock } = startHub()
    const readers = [new Witness(), new Witness()]
    for (const reader of readers) hub.add(reader)
    clock.advance(IDLE_MS * 3)
    for (const reader of readers) hub.remove(reader)
    clock.advance(IDLE_MS - 1)
    expect(log.open).toBe(1)
    clock.advance(1)
    expect([log.open, hub.state]).toEqual([0, { phase: 'stopped', reason: 'idle' }])
  })

  test('is not idle with a new reader', () => {
    const { hub, clock } = startHub()
    const reader = new Witness()
    hub.add(reader)
    hub.remove(reader)
    clock.advance(IDLE_MS - 1)
    hub.add(new Witness())
    clock.advance(IDLE_MS * 2)
    expect(hub.state.phase).toBe('starting')
  })

  test('renews a TTL twice in a window, as long as there are readers', () => {
    const { hub, clock, renewed } = startHub({ ttlMs: 1000 })
    const reader = new Witness()
    hub.add(reader)
    clock.advance(1600)
    expect(renewed).toEqual(['s', 's', 's'])
    hub.remove(reader)
    clock.advance(5000)
    expect(renewed).toHaveLength(3)
    hub.add(reader)
    clock.advance(500)
    expect(renewed).toHaveLength(4)
  })

  test.each([
    ['a TTL of 0', 0, 100],
    // setTimeout fires at once when it is asked for more.
    ['a TTL of 100 years', 100 * 365 * DAY_MS, 2 ** 31 - 1],
  ])('sets no timer that would spin for %s', (_name, ttlMs, expected) => {
    const { hub, clock } = startHub({ ttlMs })
    hub.add(new Witness())
    expect(clock.nextTimerMs).toBe(expected)
  })

  test('ends with its stream, however far that is away', () => {
    const endsAt = 1_700_000_000_000 + 60 * DAY_MS
    const { hub, clock } = startHub({ endsAt })
    hub.add(new Witness())
    expect(clock.nextTimerMs).toBe(2 ** 31 - 1)
    clock.advance(60 * DAY_MS - 1)
    expect(hub.state.phase).toBe('starting')
    clock.advance(1)
    expect(hub.state).toEqual({ phase: 'stopped', reason: 'stream_expired' })
  })

  test('knows how long nothing was appended, by a clock that may be behind the log', () => {
    const { hub, clock } = startHub()
    clock.advance(5000)
    expect(hub.idleMs).toBe(5000)
    clock.set(0)
    expect(hub.idleMs).toBe(0)
  })
})

describe('history', () => {
  test('ends where the ring began, and then behind it: its start moves all the time', () => {
    const { hub, log } = startHub({}, { ring: { maxRecords: 2, maxBytes: 1000 } })
    expect(hub.history).toMatchObject({ dataTail: 10, isFinal: true })
    log.last.give(data(11))
    log.last.give(data(12))
    expect(hub.history).toMatchObject({ dataTail: 10, isFinal: true })
    log.last.give(data(13))
    expect(hub.next(10).kind).toBe('behind')
    expect(hub.history).toMatchObject({ dataTail: 14, isFinal: false })
    log.last.give(begin(14), part(15), commit(16))
    expect(hub.history).toMatchObject({ dataTail: 17, isFinal: true })
  })
})

describe('a group', () => {
  test('shows nothing before its commit, and then all of it, elsewhere', () => {
    const { hub, log } = startHub()
    const reader = new Witness()
    hub.add(reader)
    log.last.give(data(11), begin(12), part(13))
    log.last.give(part(14))
    expect([reader.calls, hub.tail]).toEqual([['wake'], 12])
    log.last.give(part(15), commit(16), data(17))
    expect(reader.calls).toEqual(['wake', 'wake'])
    // Who is before its end finds it in the log, up to where the ring begins.
    for (const position of [10, 12, 16]) {
      expect(hub.next(position)).toEqual({ kind: 'behind' })
    }
    expect(hub.history).toMatchObject({ dataTail: 17, aborted: [], isFinal: true })
    expect(readAll(hub, 17)).toEqual(['r17'])
  })

  test('that was open when the hub began is known to it', () => {
    const lock = { id: 'g', owner: 'o', openToken: '', begin: 8 }
    const { hub, log } = startHub({ lock, dataTail: 8 })
    log.last.give(part(11))
    expect(hub.next(8)).toEqual({ kind: 'tail', end: 8, closed: false })
    log.last.give(commit(12))
    expect(hub.next(8)).toEqual({ kind: 'behind' })
    expect(hub.next(13)).toEqual({ kind: 'tail', end: 13, closed: false })
  })

  test('goes on over a lost session', () => {
    const { hub, log, clock } = startHub()
    const reader = new Witness()
    hub.add(reader)
    log.last.give(begin(11), part(12))
    log.last.handlers.onEnd(new Error('lost'))
    clock.advance(100)
    expect(log.last.from).toBe(13)
    log.last.give(part(12), part(13), commit(14))
    expect([reader.calls, hub.next(10).kind, hub.tail]).toEqual([['wake'], 'behind', 15])
  })

  test('closes the stream by its commit only', () => {
    const { hub, log } = startHub()
    log.last.give(begin(11), part(12), finalData(13))
    expect(hub.closed).toBe(false)
    log.last.give(commit(14, true))
    expect([hub.closed, hub.state.phase]).toEqual([true, 'sealed'])
    expect(hub.next(15)).toEqual({ kind: 'tail', end: 15, closed: true })
  })

  test('that is aborted wakes nobody, and is kept from those who read history', () => {
    const { hub, log } = startHub()
    const reader = new Witness()
    hub.add(reader)
    log.last.give(begin(11), part(12), abort(13))
    expect([reader.calls, hub.tail]).toEqual([[], 10])
    expect(hub.history.aborted).toEqual([[11, 13]])
    log.last.give(data(14))
    expect(readAll(hub, 10)).toEqual(['r14'])
  })

  test('that is aborted shows what an S2 client wrote into it', () => {
    const { hub, log } = startHub()
    const reader = new Witness()
    hub.add(reader)
    log.last.give(begin(11), part(12), direct(13), part(14))
    expect([reader.calls, hub.tail]).toEqual([[], 10])
    log.last.give(abort(15))
    expect([reader.calls, hub.tail]).toEqual([['wake'], 14])
    expect(hub.history).toMatchObject({ dataTail: 14, aborted: [[11, 15]] })
  })
})
