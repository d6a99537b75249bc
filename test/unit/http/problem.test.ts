import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  AppendInterruptedError,
  AppendOutcomeUnknownError,
  AuthError,
  BadEpochStartError,
  ContentTypeMismatchError,
  KeysUnavailableError,
  LogUnavailableError,
  OffsetGoneError,
  OverloadedError,
  ProducerGapError,
  RateLimitedError,
  RequestError,
  StaleEpochError,
  StreamClosedError,
  StreamConflictError,
  StreamNotFoundError,
  StreamSeqRegressionError,
  TooManyProducersError,
} from '../../../src/errors.ts'
import type { GatewayError } from '../../../src/errors.ts'
import { internalProblem, plainProblem, toProblem } from '../../../src/http/problem.ts'
import { formatOffset } from '../../../src/protocol/offset.ts'

const ALWAYS = { 'content-type': 'application/problem+json', 'cache-control': 'no-store' }
const RETRY = { 'retry-after': '1' }
const offset = formatOffset({ depth: 0, seqNum: 7 })

describe('toProblem', () => {
  test.each<[GatewayError, number, string, Record<string, string>]>([
    [new RequestError('invalid_offset', 'x'), 400, 'invalid_offset', {}],
    [new BadEpochStartError(), 400, 'bad_epoch_start', {}],
    [new StaleEpochError(4), 403, 'stale_epoch', { 'Producer-Epoch': '4' }],
    [new StreamNotFoundError(), 404, 'stream_not_found', {}],
    [new StreamConflictError('TTL'), 409, 'stream_conflict', {}],
    [
      new StreamClosedError(offset),
      409,
      'stream_closed',
      { 'Stream-Closed': 'true', 'Stream-Next-Offset': offset },
    ],
    [new ContentTypeMismatchError('text/plain'), 409, 'content_type_mismatch', {}],
    [new StreamSeqRegressionError(), 409, 'stream_seq_regression', {}],
    [
      new ProducerGapError(3, 5),
      409,
      'producer_gap',
      { 'Producer-Expected-Seq': '3', 'Producer-Received-Seq': '5' },
    ],
    [new OffsetGoneError(offset), 410, 'offset_gone', { 'Stream-Earliest-Offset': offset }],
    [new TooManyProducersError(9), 429, 'too_many_producers', RETRY],
    [new OverloadedError('x'), 503, 'overloaded', RETRY],
    [new KeysUnavailableError(), 503, 'keys_unavailable', RETRY],
    [new LogUnavailableError(new Error('secret')), 503, 'log_unavailable', RETRY],
    [new AppendInterruptedError(), 503, 'append_interrupted', RETRY],
    [new AppendOutcomeUnknownError(new Error('secret')), 503, 'append_outcome_unknown', RETRY],
  ])('%s: %d %s', (error, status, code, headers) => {
    const problem = toProblem(error, 0)
    expect([problem.status, problem.headers]).toEqual([status, { ...ALWAYS, ...headers }])
    expect(JSON.parse(problem.body)).toEqual({
      title: expect.any(String) as string,
      status,
      detail: error.message,
      code,
    })
  })

  test('never shows a cause', () => {
    const error = new LogUnavailableError(new Error('s2.example, token abc'))
    expect(JSON.stringify(toProblem(error, 0))).not.toMatch(/example|abc/)
  })

  // RFC 6750 §3: no error for who has sent no credentials.
  const REALM = 'Bearer realm="durable-streams"'
  test.each<[AuthError, number, string | undefined]>([
    [new AuthError('unauthenticated'), 401, REALM],
    [
      new AuthError('invalid_token'),
      401,
      `${REALM}, error="invalid_token", error_description="the token is not valid"`,
    ],
    [
      new AuthError('token_expired'),
      401,
      `${REALM}, error="invalid_token", error_description="the token has expired"`,
    ],
    [
      new AuthError('invalid_token', 'a "b" \\ c\r\nd é'),
      401,
      `${REALM}, error="invalid_token", error_description="a ?b? ? c??d ?"`,
    ],
    [
      new AuthError('insufficient_scope', undefined, 'write'),
      403,
      `${REALM}, error="insufficient_scope", ` +
        'error_description="the scope of the token is too little", scope="write"',
    ],
    [new AuthError('forbidden'), 403, undefined],
  ])('%s: %d, WWW-Authenticate %s', (error, status, header) => {
    const problem = toProblem(error, 0)
    expect([problem.status, problem.headers['www-authenticate']]).toEqual([status, header])
    expect(JSON.parse(problem.body)).toMatchObject({ code: error.code, detail: error.message })
  })

  test('spreads those it refuses over some seconds', () => {
    const waits = [0, 0.3, 0.6, 0.99].map(
      (random) => toProblem(new LogUnavailableError(), random).headers['retry-after'],
    )
    expect(waits).toEqual(['1', '2', '3', '4'])
  })
})

describe('a caller that has used up its limits', () => {
  const refused = (waitMs: number | undefined, random: number) => {
    const error = new RateLimitedError(
      [{ policy: 'subject-appends', quota: 5, counts: 'appends', left: 0, waitMs: waitMs ?? 0 }],
      waitMs,
    )
    return toProblem(error, random).headers
  }

  test('learns which, and what is left', () => {
    expect(refused(200, 0)).toEqual({
      ...ALWAYS,
      'RateLimit-Policy': '"subject-appends";q=5;w=1',
      RateLimit: '"subject-appends";r=0;t=1',
      'retry-after': '1',
    })
  })

  test.each<[number | undefined, number, number]>([
    [1, 1, 4],
    [1000, 1, 4],
    [1001, 2, 5],
    [10_000, 10, 15],
    [3_600_000, 3600, 5400],
    [undefined, 1, 4],
  ])('that has to wait for %s ms comes back after %d to %d s', (waitMs, soonest, latest) => {
    const waits = [0, 0.999_999].map((random) => Number(refused(waitMs, random)['retry-after']))
    expect(waits).toEqual([soonest, latest])
  })
})

test('a bug is told without a word of the inside', () => {
  expect(internalProblem()).toEqual({
    code: 'internal_error',
    status: 500,
    headers: ALWAYS,
    body: JSON.stringify({
      title: 'Internal Server Error',
      status: 500,
      detail: 'the gateway failed',
      code: 'internal_error',
    }),
  })
})

describe('the table of codes in the README', () => {
  const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')
  const listed = [
    ...read('src/http/README.md').matchAll(/^\| `([a-z_]+)` +\| (\d{3}) +\| \S.*\|$/gm),
  ].map(([, code, status]) => [code, Number(status)] as const)

  test('names every code there is, once', () => {
    const [, union = ''] = /export type ErrorCode =([^]*?)\n\n/.exec(read('src/errors.ts')) ?? []
    const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code)
    expect(codes.length).toBeGreaterThan(30)
    expect(listed.map(([code]) => code).sort()).toEqual(codes.sort())
  })

  test.each(listed)('%s is %d', (code, status) => {
    expect(plainProblem(code as Parameters<typeof plainProblem>[0], 'x', 0).status).toBe(status)
  })
})
