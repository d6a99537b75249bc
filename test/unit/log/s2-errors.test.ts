import {
  FencingTokenMismatchError,
  RangeNotSatisfiableError,
  S2Error,
  SeqNumMismatchError,
} from '@s2-dev/streamstore'
import { describe, expect, test } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../../src/errors.ts'
import {
  AppendConflictError,
  BeyondTailError,
  InvalidAppendError,
  LogStreamMissingError,
} from '../../../src/log/log.ts'
import { NoAnswerError } from '../../../src/log/s2-calls.ts'
import {
  appendFailure,
  isFleeting,
  isSilentConnection,
  readFailure,
} from '../../../src/log/s2-errors.ts'

const server = (status: number, code?: string) =>
  new S2Error({ message: 'no', status, origin: 'server', ...(code === undefined ? {} : { code }) })
const sdk = (status: number, code?: string) =>
  new S2Error({ message: 'no', status, origin: 'sdk', ...(code === undefined ? {} : { code }) })

describe('an append', () => {
  test.each<[string, unknown]>([
    ['the connection was refused', sdk(502, 'ECONNREFUSED')],
    ['connecting took too long', sdk(502, 'UND_ERR_CONNECT_TIMEOUT')],
    ['the HTTP/2 connection took too long', sdk(408, 'CONNECTION_TIMEOUT')],
    ['the name has no address', sdk(400, 'ENOTFOUND')],
    ['the name could not be looked up', sdk(502, 'EAI_AGAIN')],
    ['S2 limits the rate', server(429, 'rate_limited')],
    ['a proxy limits the rate', server(429)],
    ['the server is hot', server(502, 'hot_server')],
    ['the server drains', server(503, 'server_draining')],
    ["S2 limits a session's rate", sdk(429, 'rate_limited')],
    ["a session's server is hot", sdk(502, 'hot_server')],
    ["a session's server drains", sdk(503, 'server_draining')],
    ['the basin is missing', server(404, 'basin_not_found')],
    ['a proxy knows no such path', server(404)],
    ['the stream is being deleted', server(409, 'stream_deletion_pending')],
    ['the basin is being deleted', server(409, 'basin_deletion_pending')],
  ])('wrote nothing when %s', (_, error) => {
    const failure = appendFailure(error, 's')
    expect(failure).toBeInstanceOf(LogUnavailableError)
    expect(failure.cause).toBe(error)
  })

  test.each<[string, unknown]>([
    ['the SDK gives no status', sdk(0)],
    ['the request timed out', sdk(408, 'REQUEST_TIMEOUT')],
    ['the server timed out', server(408)],
    ['it was cancelled', sdk(499)],
    ['the server failed', server(500, 'internal')],
    ['a gateway failed', server(502)],
    ['the connection was reset', sdk(502, 'ECONNRESET')],
    ['the socket was lost', sdk(502, 'UND_ERR_SOCKET')],
    ['the server is unavailable', server(503, 'unavailable')],
    ['a gateway timed out', server(504)],
    ['a transaction conflicted', server(409, 'transaction_conflict')],
    ['the SDK refused what it got back', sdk(400)],
    ['the error is unheard of', new TypeError('boom')],
    ['what was thrown is no error', 'boom'],
  ])('has an unknown outcome when %s', (_, error) => {
    const failure = appendFailure(error, 's')
    expect(failure).toBeInstanceOf(AppendOutcomeUnknownError)
    expect(failure.cause).toBe(error)
  })

  test('is in conflict when a condition failed, with what was found', () => {
    const common = { message: 'no', code: 'APPEND_CONDITION_FAILED', status: 412 }
    expect(appendFailure(new SeqNumMismatchError({ ...common, expectedSeqNum: 7 }), 's')).toEqual(
      new AppendConflictError({ kind: 'seq_num', nextSeqNum: 7 }),
    )
    expect(
      appendFailure(new FencingTokenMismatchError({ ...common, expectedFencingToken: 'c:1' }), 's'),
    ).toEqual(new AppendConflictError({ kind: 'fencing_token', token: 'c:1' }))
  })

  test.each([400, 413, 422])('is invalid when the server says %i', (status) => {
    expect(appendFailure(server(status, 'invalid'), 's')).toBeInstanceOf(InvalidAppendError)
  })

  test('keeps a failure that is ours already', () => {
    const ours = new LogUnavailableError()
    expect(appendFailure(ours, 's')).toBe(ours)
  })
})

describe('any other call', () => {
  test.each<[string, unknown]>([
    ['of a time-out', sdk(408, 'TIMEOUT')],
    ['of a reset', sdk(0)],
    ['the server failed', server(500)],
    ['the request was invalid', server(422)],
    ['the stream is being deleted', server(409, 'stream_deletion_pending')],
    ['the basin is missing', server(404, 'basin_not_found')],
    ['S2 gave no tail', new RangeNotSatisfiableError()],
    ['of an unheard-of error', new Error('boom')],
  ])('finds the log unavailable because %s', (_, error) => {
    const failure = readFailure(error, 's')
    expect(failure).toBeInstanceOf(LogUnavailableError)
    expect(failure.cause).toBe(error)
  })

  test('is beyond the tail, and learns the tail', () => {
    const tail = { seqNum: 3, timestamp: new Date(0) }
    expect(readFailure(new RangeNotSatisfiableError({ tail }), 's')).toEqual(new BeyondTailError(3))
  })
})

describe.each([
  ['an append', appendFailure],
  ['any other call', readFailure],
])('%s', (_, failureOf) => {
  test('knows a missing stream', () => {
    expect(failureOf(server(404, 'stream_not_found'), 'a/b')).toEqual(
      new LogStreamMissingError('a/b'),
    )
  })

  test.each([401, 403])('says that the token was refused with %i', (status) => {
    const error = server(status, 'permission_denied')
    const failure = failureOf(error, 's')
    expect(failure).toBeInstanceOf(LogUnavailableError)
    expect(failure.cause).toEqual(new Error(`S2 refused the access token (${status})`))
  })
})

describe('a connection', () => {
  test.each<[boolean, string, unknown]>([
    [true, 'no heartbeat came', sdk(408, 'TIMEOUT')],
    [true, 'an acknowledgement did not come', sdk(408, 'REQUEST_TIMEOUT')],
    [true, 'a call was given up', new NoAnswerError(10)],
    [true, 'an append was given up', new AppendOutcomeUnknownError(new NoAnswerError(10))],
    [false, 'it never came about', sdk(408, 'CONNECTION_TIMEOUT')],
    [false, 'it was reset', new AppendOutcomeUnknownError(sdk(502, 'ECONNRESET'))],
    [false, 'its session ended well', undefined],
  ])('has gone silent: %s, when %s', (expected, _, cause) => {
    expect(isSilentConnection(cause)).toBe(expected)
  })
})

describe('a call that writes nothing', () => {
  test.each<[boolean, string, unknown]>([
    [true, 'the socket was lost', sdk(502, 'UND_ERR_SOCKET')],
    [true, 'the connection was reset', sdk(502, 'ECONNRESET')],
    [true, 'the server failed', server(500, 'storage')],
    [true, 'a proxy found no server', server(502)],
    [false, 'the connection was refused', sdk(502, 'ECONNREFUSED')],
    [false, 'S2 limits the rate', server(429, 'rate_limited')],
    [false, 'the server is unavailable', server(503, 'unavailable')],
    [false, 'the stream is missing', server(404, 'stream_not_found')],
    [false, 'it was given up', new NoAnswerError(10)],
  ])('may be made again: %s, when %s', (expected, _, error) => {
    expect(isFleeting(error)).toBe(expected)
  })
})
