import { describe, expect, test } from 'vitest'
import {
  BadEpochStartError,
  ContentTypeMismatchError,
  ProducerGapError,
  RequestError,
  StaleEpochError,
  StreamClosedError,
  StreamNotFoundError,
  StreamSeqRegressionError,
  TooManyProducersError,
} from '../../../src/errors.ts'
import { formatOffset } from '../../../src/protocol/offset.ts'
import type { ProducerClaim } from '../../../src/protocol/producer.ts'
import type { AppendRequest } from '../../../src/protocol/requests.ts'
import { appendCommand, touchCommand } from '../../../src/streams/append.ts'
import { encodeClosed, encodeData, encodeTouch } from '../../../src/streams/codec.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import type { StreamState } from '../../../src/streams/state.ts'
import { JSON_MODE, NOW, TEXT, after, appendRequest, bytes, created, heard } from './builders.ts'

const offsetAt = (seqNum: number) => formatOffset({ depth: 0, seqNum })
const DAY = 24 * 60 * 60 * 1000
const context = { checkpoint: 1 }
const claim = (epoch: number, seq: number, id = 'p'): ProducerClaim => ({ id, epoch, seq })
const from = (producer: ProducerClaim, body = 'x', more: Partial<AppendRequest> = {}) =>
  appendRequest(body, { producer, ...more })
const decide = (request: AppendRequest, state: StreamState, now = NOW) =>
  appendCommand(request)(state, now)
const close = (more: Partial<AppendRequest> = {}) => appendRequest('', { close: true, ...more })
const told = (request: AppendRequest, state: StreamState, now = NOW) =>
  heard(decide(request, state, now))

/** Producer `p` in epoch 2 with seqs 0 and 1; the data tail is 4. */
const producing = after(created(), [
  appendCommand(from(claim(2, 0))),
  appendCommand(from(claim(2, 1))),
])
const closedByProducer = after(producing, [
  appendCommand(from(claim(2, 2), 'end', { close: true })),
])
const closed = after(created(), [appendCommand(appendRequest('x')), appendCommand(close())])

describe('appendCommand', () => {
  test('writes the body as one record and answers the tail after it', () => {
    expect(decide(appendRequest('hello'), created())).toEqual({
      kind: 'write',
      records: [encodeData(bytes('hello'), context)],
      answer: { kind: 'appended', dataTail: 3, depth: 0, closed: false, producer: undefined },
    })
  })

  test('marks the last record only', () => {
    const request = appendRequest('[1, [2], {"a":3}]', {
      contentType: 'application/json',
      producer: claim(0, 0),
      streamSeq: 's1',
      close: true,
    })
    expect(decide(request, created(JSON_MODE))).toEqual({
      kind: 'write',
      records: [
        encodeData(bytes('1'), context),
        encodeData(bytes('[2]'), context),
        encodeData(bytes('{"a":3}'), context, { producer: claim(0, 0), streamSeq: 's1' }, true),
      ],
      answer: {
        kind: 'appended',
        dataTail: 5,
        depth: 0,
        closed: true,
        producer: { epoch: 0, seq: 0 },
      },
    })
  })

  test('closes without data, and the tail stays', () => {
    const request = close({ producer: claim(2, 2), streamSeq: 's9' })
    expect(decide(request, producing)).toEqual({
      kind: 'write',
      records: [encodeClosed(context, { producer: claim(2, 2), streamSeq: 's9' })],
      answer: {
        kind: 'appended',
        dataTail: 4,
        depth: 0,
        closed: true,
        producer: { epoch: 2, seq: 2 },
      },
    })
  })

  // PROTOCOL §5.2.1, "Validation Logic".
  test.each<[string, AppendRequest, unknown]>([
    [
      'accepts the next seq',
      from(claim(2, 2)),
      { kind: 'appended', dataTail: 5, depth: 0, closed: false, producer: { epoch: 2, seq: 2 } },
    ],
    [
      'accepts a new epoch from 0',
      from(claim(3, 0)),
      { kind: 'appended', dataTail: 5, depth: 0, closed: false, producer: { epoch: 3, seq: 0 } },
    ],
    [
      'answers a duplicate with the highest seq',
      from(claim(2, 0)),
      { kind: 'duplicate', dataTail: 4, depth: 0, closed: false, producer: { epoch: 2, seq: 1 } },
    ],
    ['names the seq it expected', from(claim(2, 5)), new ProducerGapError(2, 5)],
    ['names the epoch of the newer one', from(claim(1, 9)), new StaleEpochError(2)],
    ['starts an epoch at 0 only', from(claim(3, 1)), new BadEpochStartError()],
    ['expects an unknown producer at 0', from(claim(7, 4, 'new')), new ProducerGapError(0, 4)],
    [
      'closes for a producer in order',
      from(claim(2, 2), '', { close: true }),
      { kind: 'appended', dataTail: 4, depth: 0, closed: true, producer: { epoch: 2, seq: 2 } },
    ],
    [
      'takes a duplicate with another body for what it says it is',
      from(claim(2, 1), 'other'),
      { kind: 'duplicate', dataTail: 4, depth: 0, closed: false, producer: { epoch: 2, seq: 1 } },
    ],
  ])('%s', (_name, request, answer) => {
    expect(told(request, producing)).toEqual(answer)
  })

  test.each<[string, AppendRequest, StreamState, Error]>([
    ['there is no stream', appendRequest('x'), EMPTY_STATE, new StreamNotFoundError()],
    [
      'the content type differs',
      appendRequest('x', { contentType: 'text/html' }),
      created(),
      new ContentTypeMismatchError('text/plain'),
    ],
    [
      'Stream-Seq is the last one',
      appendRequest('x', { streamSeq: 'b' }),
      after(created(), [appendCommand(appendRequest('x', { streamSeq: 'b' }))]),
      new StreamSeqRegressionError(),
    ],
    [
      'Stream-Seq is lower, byte by byte',
      appendRequest('x', { streamSeq: '10' }),
      after(created(), [appendCommand(appendRequest('x', { streamSeq: '9' }))]),
      new StreamSeqRegressionError(),
    ],
    [
      'a JSON array is empty',
      appendRequest('[]', { contentType: 'application/json' }),
      created(JSON_MODE),
      new RequestError('empty_json_array', 'an append holds at least one message'),
    ],
    [
      'a JSON array is empty, even when it closes',
      appendRequest('[]', { contentType: 'application/json', close: true }),
      created(JSON_MODE),
      new RequestError('empty_json_array', 'an append holds at least one message'),
    ],
  ])('refuses when %s', (_name, request, state, error) => {
    expect(told(request, state)).toEqual(error)
  })

  test('does not find a stream that has expired', () => {
    const state = created({
      ...TEXT,
      expiry: { kind: 'at', at: NOW + 5, text: '2023-11-14T22:13:20.005Z' },
    })
    expect(told(appendRequest('x'), state, NOW + 5)).toEqual(new StreamNotFoundError())
    expect(told(appendRequest('x'), state, NOW + 4)).toMatchObject({ kind: 'appended' })
  })

  test('lets parameters of the content type differ', () => {
    const request = appendRequest('x', { contentType: 'Text/Plain; charset=UTF-8' })
    expect(told(request, created())).toMatchObject({ kind: 'appended' })
  })

  test('ignores the content type of an empty body', () => {
    expect(told(close({ contentType: 'text/html' }), created())).toMatchObject({ closed: true })
  })

  test('throws what is wrong with a JSON body only once it is about to be written', () => {
    const broken = appendRequest('{', { contentType: 'application/json' })
    expect(() => decide(broken, created(JSON_MODE))).toThrow('valid JSON')
    expect(told(broken, EMPTY_STATE)).toEqual(new StreamNotFoundError())
  })
})

describe('appendCommand on several faults', () => {
  const json = after(created(JSON_MODE), [
    appendCommand(
      appendRequest('1', {
        contentType: 'application/json',
        producer: claim(1, 0),
        streamSeq: 'm',
      }),
    ),
  ])
  const wrong = { contentType: 'text/plain', producer: claim(0, 9), streamSeq: 'a' }

  // PROTOCOL §5.2, "Error Precedence".
  test.each<[string, AppendRequest, StreamState, Error]>([
    [
      'names closure first',
      appendRequest('x', wrong),
      after(json, [appendCommand(close())]),
      new StreamClosedError(offsetAt(3)),
    ],
    [
      'then the content type',
      appendRequest('x', wrong),
      json,
      new ContentTypeMismatchError('application/json'),
    ],
    [
      'then the producer',
      appendRequest('x', { ...wrong, contentType: 'application/json' }),
      json,
      new StaleEpochError(1),
    ],
    [
      'then Stream-Seq',
      appendRequest('x', { contentType: 'application/json', streamSeq: 'a' }),
      json,
      new StreamSeqRegressionError(),
    ],
  ])('%s', (_name, request, state, error) => {
    expect(told(request, state)).toEqual(error)
  })

  test('calls a retry a duplicate whatever its Stream-Seq', () => {
    const retry = appendRequest('1', {
      contentType: 'application/json',
      producer: claim(1, 0),
      streamSeq: 'm',
    })
    expect(told(retry, json)).toMatchObject({ kind: 'duplicate' })
  })
})

describe('appendCommand on a closed stream', () => {
  const refused = (tail: number) => new StreamClosedError(offsetAt(tail))
  const same = {
    kind: 'duplicate',
    dataTail: 5,
    depth: 0,
    closed: true,
    producer: { epoch: 2, seq: 2 },
  }

  // PROTOCOL §5.2 `Stream-Closed`, §5.2.1 "Stream Closure with Idempotent Producers".
  test.each<[string, AppendRequest, StreamState, unknown]>([
    [
      'closes again',
      close(),
      closed,
      { kind: 'duplicate', dataTail: 3, depth: 0, closed: true, producer: undefined },
    ],
    ['takes no data', appendRequest('x'), closed, refused(3)],
    ['takes no final data either', appendRequest('x', { close: true }), closed, refused(3)],
    [
      'knows the request that closed it',
      from(claim(2, 2), 'end', { close: true }),
      closedByProducer,
      same,
    ],
    ['knows it by the claim alone', from(claim(2, 2), '', { close: true }), closedByProducer, same],
    ['refuses an earlier seq', from(claim(2, 1)), closedByProducer, refused(5)],
    ['refuses the next seq', from(claim(2, 3)), closedByProducer, refused(5)],
    ['refuses another epoch', from(claim(3, 2)), closedByProducer, refused(5)],
    ['refuses another producer', from(claim(2, 2, 'q')), closedByProducer, refused(5)],
    ['refuses any producer when none closed it', from(claim(0, 0)), closed, refused(3)],
  ])('%s', (_name, request, state, answer) => {
    expect(told(request, state)).toEqual(answer)
  })
})

describe('appendCommand with as many producers as the stream remembers', () => {
  const full = after(
    created(),
    ['a', 'b', 'c'].map((id) => appendCommand(from(claim(0, 0, id)))),
    (index) => NOW + index,
  )
  const newcomer = from(claim(0, 0, 'd'))

  test('refuses a new one while each may still retry', () => {
    expect(told(newcomer, full, NOW + 7 * DAY)).toEqual(new TooManyProducersError(3))
  })

  test('lets it take the place of one that was silent for a week', () => {
    expect(told(newcomer, full, NOW + 7 * DAY + 1)).toMatchObject({ kind: 'appended' })
    const next = after(full, [appendCommand(newcomer)], () => NOW + 7 * DAY + 1)
    expect([...next.incarnation!.producers.keys()].sort()).toEqual(['b', 'c', 'd'])
  })

  test('goes on with those it knows', () => {
    expect(told(from(claim(0, 1, 'a')), full)).toMatchObject({ kind: 'appended' })
  })
})

describe('touchCommand', () => {
  const state = created({ ...TEXT, expiry: { kind: 'ttl', seconds: 100 } })
  const nothing = { kind: 'answer', answer: undefined }

  test('renews once a tenth of the window has passed', () => {
    expect(touchCommand(state, NOW + 9_999)).toEqual(nothing)
    expect(touchCommand(state, NOW + 10_000)).toEqual({
      kind: 'write',
      records: [encodeTouch(context)],
      answer: undefined,
    })
  })

  test.each<[string, StreamState, number]>([
    ['there is no stream', EMPTY_STATE, NOW],
    ['the stream has expired', state, NOW + 110_000],
    ['the stream never expires', created(), NOW + DAY],
  ])('does nothing when %s', (_name, given, now) => {
    expect(touchCommand(given, now)).toEqual(nothing)
  })
})
