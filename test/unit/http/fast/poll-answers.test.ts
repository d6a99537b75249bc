import { describe, expect, test } from 'vitest'
import type { LiveGet } from '../../../../src/http/fast/live-get.ts'
import { PollAnswers } from '../../../../src/http/fast/poll-answers.ts'
import { ResponseHeads } from '../../../../src/http/fast/response.ts'
import type { LongPollResult } from '../../../../src/http/long-poll.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { STREAM } from '../../hub/fakes.ts'

const RESULT: LongPollResult = {
  stream: STREAM,
  from: 10,
  next: 12,
  upToDate: true,
  closed: false,
  body: Buffer.from('body'),
  cursor: 5,
}
const GET: LiveGet = {
  path: '/v1/stream/s',
  name: 's',
  read: {
    mode: 'long-poll',
    offset: { kind: 'position', position: { depth: 0, seqNum: 10 } },
    cursor: 4,
  },
  ifNoneMatch: undefined,
}

function answers() {
  const clock = new ManualClock()
  const polls = new PollAnswers(new ResponseHeads(clock, 5000))
  const of = (result: Partial<LongPollResult> = {}, get: Partial<LiveGet> = {}, isLast = false) =>
    polls.of({ ...RESULT, ...result }, { ...GET, ...get }, clock.now(), isLast)
  return { clock, of }
}

describe('PollAnswers', () => {
  test('are the same bytes for all who wait at one position, whatever their cursor was', () => {
    const { of } = answers()
    const first = of()
    expect(first.status).toBe(200)
    expect(of().head).toBe(first.head)
    expect(of({}, { read: { ...GET.read, cursor: 3 } }).head).toBe(first.head)
  })

  test.each<[string, Partial<LongPollResult>, Partial<LiveGet>]>([
    ['another body', { body: Buffer.from('other') }, {}],
    ['no body', { body: undefined }, {}],
    ['another end', { next: 13 }, {}],
    ['another beginning', { from: 9 }, {}],
    ['another cursor', { cursor: 6 }, {}],
    ['more to come', { upToDate: false }, {}],
    ['the end of the stream', { closed: true, cursor: undefined }, {}],
    ['another stream', { stream: { ...STREAM, contentType: 'text/csv' } }, {}],
    ['a tag', {}, { ifNoneMatch: '"x"' }],
    ['no cursor asked with', {}, { read: { ...GET.read, cursor: undefined } }],
    ['a read from now', {}, { read: { ...GET.read, offset: { kind: 'now' } } }],
  ])('are made anew for %s', (_name, result, get) => {
    const fresh = answers().of(result, get)
    const { of } = answers()
    const first = of()
    const other = of(result, get)
    expect(other.head.toString()).toBe(fresh.head.toString())
    expect(other.head).not.toBe(first.head)
  })

  test('have a large body beside their head, as it is', () => {
    const { of } = answers()
    const body = Buffer.alloc(64 * 1024 + 1)
    expect(of({ body }).body).toBe(body)
  })

  test('say the time, and that a connection ends', () => {
    const { of, clock } = answers()
    const first = of()
    expect(of({}, {}, true).head.toString()).toContain('Connection: close')
    expect(of().head).toBe(first.head)
    clock.advance(1000)
    expect(of().head.toString()).not.toBe(first.head.toString())
  })

  test('say how long a stream that ends may be cached for', () => {
    const { of, clock } = answers()
    const stream = { ...STREAM, endsAt: clock.now() + 5999 }
    const cached = () => /max-age=(\d+)/.exec(of({ stream }).head.toString())?.[1]
    expect(cached()).toBe('5')
    clock.advance(999)
    expect(cached()).toBe('5')
    clock.advance(1)
    expect(cached()).toBe('4')
  })
})
