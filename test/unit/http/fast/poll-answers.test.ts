import { describe, expect, test } from 'vitest'
import { PollAnswers } from '../../../../src/http/fast/poll-answers.ts'
import type { PollAsked } from '../../../../src/http/fast/poll-answers.ts'
import { ResponseHeads } from '../../../../src/http/fast/response.ts'
import type { LongPollResult } from '../../../../src/http/long-poll.ts'
import type { Asked } from '../../../../src/http/render.ts'
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
const ASKED: Omit<PollAsked, 'now'> = {
  read: {
    mode: 'long-poll',
    offset: { kind: 'position', position: { depth: 0, seqNum: 10 } },
    cursor: 4,
  },
  ifNoneMatch: undefined,
  audience: 'shared',
  common: {},
}

function answers() {
  const clock = new ManualClock()
  const polls = new PollAnswers(new ResponseHeads(clock, 5000))
  const of = (
    result: Partial<LongPollResult> = {},
    asked: Partial<PollAsked> = {},
    isLast = false,
  ) => polls.of({ ...RESULT, ...result }, { ...ASKED, now: clock.now(), ...asked }, isLast)
  return { clock, of }
}

describe('PollAnswers', () => {
  test('are the same bytes for all who wait at one position, whatever their cursor was', () => {
    const { of } = answers()
    const first = of()
    expect(first.status).toBe(200)
    expect(of().head).toBe(first.head)
    expect(of({}, { read: { ...ASKED.read, cursor: 3 } }).head).toBe(first.head)
  })

  test.each<[string, Partial<LongPollResult>, Partial<PollAsked>]>([
    ['another body', { body: Buffer.from('other') }, {}],
    ['no body', { body: undefined }, {}],
    ['another end', { next: 13 }, {}],
    ['another beginning', { from: 9 }, {}],
    ['another cursor', { cursor: 6 }, {}],
    ['more to come', { upToDate: false }, {}],
    ['the end of the stream', { closed: true, cursor: undefined }, {}],
    ['another stream', { stream: { ...STREAM, contentType: 'text/csv' } }, {}],
    ['a tag', {}, { ifNoneMatch: '"x"' }],
    ['one whose answer is its own', {}, { audience: 'private' }],
    ['another origin', {}, { common: { 'access-control-allow-origin': 'https://a.example' } }],
    ['no cursor asked with', {}, { read: { ...ASKED.read, cursor: undefined } }],
    ['a read from now', {}, { read: { ...ASKED.read, offset: { kind: 'now' } } }],
  ])('are made anew for %s', (_name, result, asked) => {
    const fresh = answers().of(result, asked)
    const { of } = answers()
    const first = of()
    const other = of(result, asked)
    expect(other.head.toString()).toBe(fresh.head.toString())
    expect(other.head).not.toBe(first.head)
  })

  test('are never those of another audience, whoever came first', () => {
    const { of } = answers()
    const shown = (audience: Asked['audience']) => of({}, { audience }).head.toString()
    for (const audience of ['private', 'shared', 'private', 'private', 'shared'] as const) {
      expect(shown(audience)).toContain(audience === 'shared' ? ': public,' : ': private,')
      expect(/^vary: Authorization, Cookie\r$/m.test(shown(audience))).toBe(audience === 'private')
    }
  })

  test('are the same bytes for all of one origin, though others poll in between', () => {
    const { of } = answers()
    const common = { 'access-control-allow-origin': 'https://a.example' }
    const [first, other] = [of(), of({}, { common })]
    expect(of().head).toBe(first.head)
    expect(of({}, { common }).head).toBe(other.head)
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
