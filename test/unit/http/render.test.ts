import { describe, expect, test } from 'vitest'
import type { LongPollResult } from '../../../src/http/long-poll.ts'
import { eventHeaders } from '../../../src/http/live.ts'
import { renderChunk, renderLongPoll, renderMetadata } from '../../../src/http/render.ts'
import type { Asked } from '../../../src/http/render.ts'
import { parseRead } from '../../../src/protocol/requests.ts'
import type { ReadResult } from '../../../src/streams/reader.ts'
import { viewOf } from '../../../src/streams/view.ts'
import type { StreamView } from '../../../src/streams/view.ts'
import { STREAM } from '../hub/fakes.ts'
import { NOW, TEXT, bytes, created } from '../streams/builders.ts'

/** A stream that was just created. */
function view(config: Partial<typeof TEXT> = {}): StreamView {
  const state = created({ ...TEXT, ...config })
  return viewOf('s', state, state.incarnation!)
}

const LIVE = { live: 'long-poll', cursor: '5' }
const MINUTE = { kind: 'ttl', seconds: 60 } as const
const asked = (
  audience: Asked['audience'],
  query: Record<string, string> = {},
  ifNoneMatch?: string,
): Asked => ({ read: parseRead({ offset: '-1', ...query }, {}), ifNoneMatch, now: NOW, audience })

const chunk = (more: Partial<ReadResult> = {}): ReadResult => ({
  view: view(),
  from: 2,
  next: 3,
  records: [{ seqNum: 2, timestamp: NOW, body: bytes('x') }],
  upToDate: false,
  ...more,
})
const poll = (more: Partial<LongPollResult> = {}): LongPollResult => ({
  stream: STREAM,
  from: 9,
  next: 10,
  upToDate: true,
  closed: false,
  body: Buffer.from('x'),
  cursor: 6,
  ...more,
})

const VARY = 'Authorization, Cookie'
const cached = ({ headers }: { headers: Readonly<Record<string, string>> }) => [
  headers['cache-control'],
  headers['vary'],
]

describe('renderMetadata (PROTOCOL §5.5)', () => {
  test('says that a stream is public, and of a private one nothing', () => {
    expect(renderMetadata(view({ isPublic: true })).headers['Stream-Public']).toBe('true')
    expect(renderMetadata(view()).headers).not.toHaveProperty('Stream-Public')
  })

  test('gives the reader key to whom it is for, and may not be stored', () => {
    const { headers } = renderMetadata(view(), 'rk_abc')
    expect(headers['Stream-Reader-Key']).toBe('rk_abc')
    expect(headers['cache-control']).toBe('no-store')
    expect(renderMetadata(view()).headers).not.toHaveProperty('Stream-Reader-Key')
  })
})

describe('data of a trace', () => {
  const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const record = { seqNum: 2, timestamp: NOW, body: bytes('x'), traceparent: TRACEPARENT }

  test('is read with what names it, and so is what a cache has of it', () => {
    const { headers, body } = renderChunk(chunk({ records: [record] }), asked('shared'))
    expect(headers['Stream-Traceparent']).toBe(TRACEPARENT)
    expect(String(body)).toBe('x')
    const again = renderChunk(chunk({ records: [record] }), asked('shared', {}, headers['etag']))
    expect([again.status, again.headers]).toEqual([304, headers])
  })

  test('is polled for with what names it', () => {
    const { headers } = renderLongPoll(poll({ traceparent: TRACEPARENT }), asked('shared', LIVE))
    expect(headers['Stream-Traceparent']).toBe(TRACEPARENT)
  })

  test('is in no other answer', () => {
    const others = [
      renderChunk(chunk(), asked('shared')),
      renderLongPoll(poll(), asked('shared', LIVE)),
      renderLongPoll(poll({ body: undefined }), asked('shared', LIVE)),
    ]
    for (const { headers } of others) expect(headers).not.toHaveProperty('Stream-Traceparent')
  })
})

describe('renderChunk', () => {
  const stale = 'public, max-age=60, stale-while-revalidate=300'
  const ends = { view: view({ expiry: MINUTE }) }

  test.each<[string, ReadResult, Record<string, string>, unknown[], unknown[]]>([
    ['before the tail', chunk(), {}, [stale, undefined], ['private, max-age=60', VARY]],
    ['at the tail', chunk({ upToDate: true }), {}, ['no-cache', undefined], ['private, no-cache', VARY]], // prettier-ignore
    ['of a stream that ends', chunk(ends), {}, ['public, max-age=60', undefined], ['private, max-age=60', VARY]], // prettier-ignore
    ['from now', chunk(), { offset: 'now' }, ['no-store', undefined], ['no-store', undefined]],
  ])('%s goes to the caches of its audience', (_name, result, query, shared, own) => {
    expect(cached(renderChunk(result, asked('shared', query)))).toEqual(shared)
    expect(cached(renderChunk(result, asked('private', query)))).toEqual(own)
  })

  test('says of whom it depends also where nothing has changed (RFC 9110 §15.4.5)', () => {
    const answer = renderChunk(chunk(), asked('private', {}, '*'))
    expect(answer.status).toBe(304)
    expect(cached(answer)).toEqual(['private, max-age=60', VARY])
  })

  test('is the same but for its caches', () => {
    const { headers: _shared, ...one } = renderChunk(chunk(), asked('shared'))
    const { headers, ...other } = renderChunk(chunk(), asked('private'))
    expect(other).toEqual(one)
    expect(headers['etag']).toBe(_shared['etag'])
  })
})

describe('renderLongPoll', () => {
  const { cursor: _cursor, ...unkeyed } = LIVE
  const nothing = ['no-store', undefined]

  test.each<[string, LongPollResult, Record<string, string>, unknown[], unknown[]]>([
    ['with data', poll(), LIVE, ['public, max-age=20', undefined], ['private, max-age=20', VARY]],
    ['with data, asked without a cursor', poll(), unkeyed, nothing, nothing],
    ['with data, from now', poll(), { ...LIVE, offset: 'now' }, nothing, nothing],
    ['without data', poll({ body: undefined }), LIVE, nothing, nothing],
    ['at the end', poll({ body: undefined, closed: true }), LIVE, nothing, nothing],
  ])('%s goes to the caches of its audience', (_name, result, query, shared, own) => {
    expect(cached(renderLongPoll(result, asked('shared', query)))).toEqual(shared)
    expect(cached(renderLongPoll(result, asked('private', query)))).toEqual(own)
  })

  test('says of whom it depends also where nothing has changed', () => {
    const answer = renderLongPoll(poll(), asked('private', LIVE, '*'))
    expect(answer.status).toBe(304)
    expect(cached(answer)).toEqual(['private, max-age=20', VARY])
  })
})

test('Events are never stored, whoever reads them', () => {
  const headers = eventHeaders(STREAM)
  expect(cached({ headers })).toEqual(['no-cache, no-store, no-transform', undefined])
  // One object for all: the fast lane prepares one head for it.
  expect(eventHeaders({ ...STREAM, isPublic: true })).toBe(headers)
})
