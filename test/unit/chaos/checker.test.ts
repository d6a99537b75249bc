/** The checker of the chaos runs sees what writers suffer, and nothing where all is well. */
import { describe, expect, test } from 'vitest'
import { check } from '../../chaos/checker/check.ts'
import {
  A,
  B,
  BIRTH,
  C,
  HistoryBuilder,
  REBIRTH,
  UNKNOWN,
  at,
  begun,
  refused,
  rulesOf,
} from './history-builder.ts'

describe('a good history', () => {
  test('of acknowledged appends that all readers see', () => {
    const history = begun()
      .read([BIRTH, A], 2, { upToDate: false })
      .read([B], 3, { from: at(2), mode: 'long-poll' })
      .read([], 3, { from: at(3) })
      .head(3)
      .read([], 3, { from: 'now', mode: 'now' })
      .end([BIRTH, A, B], 3)
    expect(check(history)).toEqual([])
  })

  test('of unknown outcomes that were stored, or not', () => {
    const history = begun()
      .appended(C, UNKNOWN)
      .appended('d:0:0:0', UNKNOWN)
      .end([BIRTH, A, B, C], 4)
    expect(check(history)).toEqual([])
  })

  test('of a claim that is stored by one of its attempts', () => {
    const history = begun()
      .appended('p:0:0:0', UNKNOWN, { by: 'idempotent' })
      .appended('p:0:0:1', 4, { by: 'idempotent', duplicate: true })
      .appended('p:0:1:0', 5, { by: 'idempotent' })
      .end([BIRTH, A, B, 'p:0:0:0', 'p:0:1:0'], 5)
    expect(check(history)).toEqual([])
  })

  test('of a writer without claims that sent again what had been stored', () => {
    const history = begun()
      .appended('r:0:0:0', UNKNOWN, { by: 'retrying' })
      .appended('r:0:0:1', 5, { by: 'retrying' })
      .end([BIRTH, A, B, 'r:0:0:0', 'r:0:0:1'], 5)
    expect(check(history)).toEqual([])
  })

  test('of a stream that was closed, deleted and created again', () => {
    const history = begun()
      .appended(C, 4, { close: true })
      .appended('d:0:0:0', refused(409, 'stream_closed'))
      .head(4, { closed: true })
      .deleted()
      .failedRead(refused(404, 'stream_not_found'))
      .created(REBIRTH, 9)
      .read([REBIRTH], 9)
      .end([REBIRTH], 9)
    expect(check(history)).toEqual([])
  })

  test('of an append whose incarnation was deleted before anybody read it', () => {
    const history = begun().deleted().created(REBIRTH, 9).end([REBIRTH], 9)
    expect(check(history)).toEqual([])
  })

  test('of a live reader at a gateway that does not know of a deletion yet', () => {
    const history = begun()
      .read([BIRTH, A], 2, { upToDate: false })
      .deleted()
      .read([B], 3, { from: at(2), mode: 'sse' })
      .created(REBIRTH, 9)
      .end([REBIRTH], 9)
    expect(check(history)).toEqual([])
  })
})

describe('a lost acknowledgement', () => {
  test('of an append that nobody finds', () => {
    expect(rulesOf(begun().appended(C, 4).end([BIRTH, A, B], 4))).toContain('lost')
  })

  test('of a claim that was taken for a duplicate', () => {
    const history = begun()
      .appended('p:0:0:0', 3, { by: 'idempotent', duplicate: true })
      .end([BIRTH, A, B], 3)
    expect(rulesOf(history)).toEqual(['lost'])
  })

  test('of an append after the last creation, whatever was deleted before', () => {
    const history = begun().deleted().created(REBIRTH, 9).appended(C, 10).end([REBIRTH], 10)
    expect(rulesOf(history)).toContain('lost')
  })
})

describe('a duplicate', () => {
  test('of a message that stands twice', () => {
    expect(rulesOf(begun().end([BIRTH, A, B, A], 4))).toContain('order')
  })

  test('of a claim that two attempts stored', () => {
    const history = begun()
      .appended('p:0:0:0', UNKNOWN, { by: 'idempotent' })
      .appended('p:0:0:1', 5, { by: 'idempotent' })
      .end([BIRTH, A, B, 'p:0:0:0', 'p:0:0:1'], 5)
    expect(rulesOf(history)).toEqual(['producer'])
  })

  test('of a Stream-Seq', () => {
    const options = { by: 'stream-seq', streamSeq: '7' } as const
    const history = begun()
      .appended('q:0:0:0', UNKNOWN, options)
      .appended('q:0:0:1', 5, options)
      .end([BIRTH, A, B, 'q:0:0:0', 'q:0:0:1'], 5)
    expect(rulesOf(history)).toEqual(['stream-seq'])
  })
})

describe('another order', () => {
  test('than that of the acknowledgements', () => {
    const history = new HistoryBuilder().created(BIRTH, 1).appended(A, 3).appended(B, 2)
    expect(rulesOf(history.end([BIRTH, B, A], 3))).toContain('real time')
  })

  test("than that of a producer's claims", () => {
    const history = begun()
      .appended('p:0:0:0', UNKNOWN, { by: 'idempotent' })
      .appended('p:0:1:0', UNKNOWN, { by: 'idempotent' })
      .end([BIRTH, A, B, 'p:0:1:0', 'p:0:0:0'], 5)
    expect(rulesOf(history)).toContain('producer')
  })

  test('with a gap in the claims', () => {
    const history = begun()
      .appended('p:0:0:0', UNKNOWN, { by: 'idempotent' })
      .appended('p:0:1:0', 4, { by: 'idempotent' })
      .end([BIRTH, A, B, 'p:0:1:0'], 4)
    expect(rulesOf(history)).toEqual(['producer'])
  })

  test('of an epoch that comes back', () => {
    const history = begun()
      .appended('p:0:0:0', UNKNOWN, { by: 'idempotent' })
      .appended('p:1:0:0', 4, { by: 'idempotent' })
      .end([BIRTH, A, B, 'p:1:0:0', 'p:0:0:0'], 5)
    expect(rulesOf(history)).toContain('producer')
  })
})

describe('an append of several texts', () => {
  const parts = ['m:0:0:0:0/2', 'm:0:0:0:1/2']

  test('is whole', () => {
    const history = begun()
      .appended('m:0:0:0', 5, { count: 2 })
      .end([BIRTH, A, B, ...parts], 5)
    expect(check(history)).toEqual([])
  })

  test.each([
    ['without its end', [BIRTH, A, B, parts[0] ?? '']],
    ['with another text inside', [BIRTH, A, parts[0] ?? '', B, parts[1] ?? '']],
  ])('is torn: %s', (_, messages) => {
    const history = begun().appended('m:0:0:0', UNKNOWN, { count: 2 })
    expect(rulesOf(history.end(messages, 5))).toContain('torn')
  })

  test('is torn for a reader that is told it is up to date', () => {
    const history = begun()
      .appended('m:0:0:0', UNKNOWN, { count: 2 })
      .read([BIRTH, A, B, parts[0] ?? ''], 4)
      .end([BIRTH, A, B, ...parts], 5)
    expect(rulesOf(history)).toEqual(['torn'])
  })
})

describe('a refusal', () => {
  test('of what is there nevertheless', () => {
    const history = begun().appended(C, refused(503, 'log_unavailable')).end([BIRTH, A, B, C], 4)
    expect(rulesOf(history)).toEqual(['refused'])
  })

  test.each([
    [500, 'internal_error'],
    [409, 'stream_closed'],
    [409, 'producer_gap'],
    [403, 'stale_epoch'],
    [409, 'stream_seq_regression'],
    [413, 'payload_too_large'],
  ])('without a reason: %i %s', (status, code) => {
    const history = begun()
      .appended(C, refused(status, code), { by: 'idempotent' })
      .end([BIRTH, A, B], 3)
    expect(rulesOf(history)).toEqual(['refusal'])
  })
})
