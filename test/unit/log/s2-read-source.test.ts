/** Read sessions and what comes on them, against an HTTP/2 server. */
import { once } from 'node:events'
import { constants } from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import { RangeNotSatisfiableError } from '@s2-dev/streamstore'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { BeyondTailError, LogStreamMissingError } from '../../../src/log/log.ts'
import { isSilentConnection, readFailure } from '../../../src/log/s2-errors.ts'
import { batch, frame, heartbeat, terminal } from '../../support/read-server.ts'
import { pool, reader, readers, replaced, requested, server, startServer } from './read-sessions.ts'

beforeEach(() => startServer())
afterEach(() => server.stop())

describe('a session', () => {
  test('is asked for as S2 wants it', async () => {
    await reader(pool(), 'a/b?ü')
    await requested(1)
    expect(server.requests[0]?.headers).toMatchObject({
      ':method': 'GET',
      ':path': '/v1/streams/a%2Fb%3F%C3%BC/records?seq_num=7',
      authorization: 'Bearer a-token',
      's2-basin': 'some-basin',
      'content-type': 's2s/proto',
      accept: 'application/protobuf',
    })
  })

  test('gets its batches, whole and cut anywhere', async () => {
    const session = await reader(pool())
    await requested(1)
    const { stream } = server.requests[0]!
    stream.write(Buffer.concat([batch(7), batch(8), heartbeat(9)]))
    for (const byte of batch(9)) stream.write(Uint8Array.of(byte))
    await vi.waitFor(() => expect(session.seqNums).toEqual([7, 8, 9]))
    expect(session.tails).toEqual([undefined, undefined, 9, undefined])
    expect(session.ends).toEqual([])
  })

  test('that is cancelled is told nothing more, and S2 is', async () => {
    const session = await reader(pool())
    await requested(1)
    const { stream } = server.requests[0]!
    stream.write(batch(7))
    await vi.waitFor(() => expect(session.seqNums).toEqual([7]))
    session.source?.cancel()
    session.source?.cancel()
    stream.write(batch(8))
    await once(stream, 'close')
    expect(stream.rstCode).toBe(constants.NGHTTP2_CANCEL)
    expect([session.seqNums, session.ends]).toEqual([[7], []])
  })

  test('leaves others their turn while there is much to read', async () => {
    const session = await reader(pool())
    await requested(1)
    const { stream } = server.requests[0]!
    const seen: number[] = []
    const look = (): void => {
      seen.push(session.seqNums.length)
      if (session.seqNums.length < 120) setImmediate(look)
    }
    // Not one byte is read while this is written: all of it is there at the first turn.
    stream.write(Buffer.concat(Array.from({ length: 120 }, (_, n) => batch(n, 100_000))))
    look()
    await vi.waitFor(() => expect(session.seqNums).toHaveLength(120))
    const steps = seen.map((count, at) => count - (seen[at - 1] ?? 0))
    // Two turns of 256 KiB at most between two looks, and what is cut off at each end.
    expect(Math.max(...steps)).toBeLessThanOrEqual(7)
  })

  test('that is cancelled with much to read is let go', async () => {
    const connections = pool({ idleMs: 1 })
    const session = await reader(connections)
    await requested(1)
    server.requests[0]!.stream.write(Buffer.alloc(4_000_000))
    session.source?.cancel()
    await vi.waitFor(() => expect(server.open).toBe(0))
  })
})

describe('the end of a session', () => {
  const failures = (cause: unknown) => readFailure(cause, 'a/b')

  test.each([
    ['a clean last frame', () => terminal(200), undefined],
    ['the end of its stream', () => heartbeat(7), undefined],
    ['a last frame of a stream that is gone', () => terminal(404, { code: 'stream_not_found' }), 0],
    ['a last frame beyond the tail', () => terminal(416, { tail: { seq_num: 3 } }), 1],
  ])('by %s', async (_what, bytes, failure) => {
    server.onRequest = ({ stream }) => {
      stream.respond({ ':status': 200 })
      stream.end(bytes())
    }
    const cause = await (await reader(pool())).ended()
    const mapped = [new LogStreamMissingError('a/b'), new BeyondTailError(3)]
    if (failure === undefined) expect(cause).toBeUndefined()
    else expect(failures(cause)).toEqual(mapped[failure])
  })

  const refusals: [number, string, Error][] = [
    [404, '{"code":"stream_not_found"}', new LogStreamMissingError('a/b')],
    [416, '{"tail":{"seq_num":3,"timestamp":5}}', new BeyondTailError(3)],
  ]
  test.each(refusals)('by an answer of %d', async (status, answer, failure) => {
    server.onRequest = ({ stream }) => {
      stream.respond({ ':status': status })
      // In two pieces, as the network may cut it.
      stream.write(answer.slice(0, 5))
      setTimeout(() => stream.end(answer.slice(5)), 5)
    }
    expect(failures(await (await reader(pool())).ended())).toEqual(failure)
  })

  test.each([
    [500, '', { status: 500, origin: 'server' }],
    [503, '{"code":"unavailable","message":"later"}', { code: 'unavailable', message: 'later' }],
    [204, '', { status: 204, origin: 'server' }],
    [502, '<html>', { status: 502, message: 'S2 answered 502' }],
  ])('by an answer of %d %s', async (status, answer, failure) => {
    server.onRequest = ({ stream }) => {
      stream.respond({ ':status': status })
      stream.end(answer)
    }
    expect(await (await reader(pool())).ended()).toMatchObject(failure)
  })

  test('beyond the tail knows no tail when S2 names none', async () => {
    server.onRequest = ({ stream }) => {
      stream.respond({ ':status': 416 })
      stream.end()
    }
    const cause = await (await reader(pool())).ended()
    expect(cause).toBeInstanceOf(RangeNotSatisfiableError)
    expect(cause).toMatchObject({ tail: undefined })
  })

  test.each([
    ['a frame that is too long', Buffer.from('ffffff00', 'hex'), 'too long'],
    ['a frame that is compressed', Buffer.from('00000220aa', 'hex'), 'compressed'],
    ['a batch that is none', frame(0, Uint8Array.of(0x0b)), 'unknown type'],
  ])('by %s comes after what was before it', async (_what, bytes, message) => {
    const session = await reader(pool())
    await requested(1)
    server.requests[0]!.stream.write(Buffer.concat([batch(7), bytes, batch(8)]))
    const cause = await session.ended()
    expect(cause).toMatchObject({
      status: 500,
      message: expect.stringContaining(message) as string,
    })
    expect(session.seqNums).toEqual([7])
  })

  test('inside a frame is no clean one', async () => {
    server.onRequest = ({ stream }) => {
      stream.respond({ ':status': 200 })
      stream.end(batch(7).subarray(0, 9))
    }
    expect(await (await reader(pool())).ended()).toMatchObject({ code: 'stream reset' })
  })

  test('by a reset is a failure', async () => {
    const session = await reader(pool())
    await requested(1)
    server.requests[0]!.stream.write(batch(7))
    await vi.waitFor(() => expect(session.seqNums).toEqual([7]))
    // With INTERNAL_ERROR: Node's own `close` would end the stream first.
    server.requests[0]!.stream.destroy(new Error('broken'))
    expect(await session.ended()).toMatchObject({ origin: 'sdk' })
  })

  test.each([
    ['CANCEL', constants.NGHTTP2_CANCEL],
    ['INTERNAL_ERROR', constants.NGHTTP2_INTERNAL_ERROR],
    ['REFUSED_STREAM', constants.NGHTTP2_REFUSED_STREAM],
    ['NO_ERROR', constants.NGHTTP2_NO_ERROR],
  ])('by a reset with %s in place of an answer is a failure', async (_what, code) => {
    server.onRequest = ({ stream }) => stream.close(code)
    expect(await (await reader(pool())).ended()).toMatchObject({ origin: 'sdk' })
  })

  test.each([
    ['is reset', () => server.sockets[0]!.resetAndDestroy()],
    ['is closed', () => server.sockets[0]!.destroy()],
    ['goes away', () => server.connections[0]!.goaway()],
    ['breaks', () => server.connections[0]!.destroy(new Error('broken'))],
  ])('comes when its connection %s, and the next one is on another', async (_what, cut) => {
    const connections = pool()
    const [one, other] = await readers(connections, 2)
    await requested(2)
    cut()
    expect(await one?.ended()).toMatchObject({ origin: 'sdk' })
    expect(await other?.ended()).toMatchObject({ origin: 'sdk' })
    const next = await reader(connections)
    await requested(3)
    server.requests[2]!.stream.write(batch(7))
    await vi.waitFor(() => expect(next.seqNums).toEqual([7]))
    expect([server.connections.length, replaced]).toEqual([2, 0])
  })

  test.each([
    ['in a batch', () => heartbeat(7, 0x10)],
    ['with a last frame', () => terminal(503, { code: 'server_draining' })],
  ])('by a server that drains and says so %s leaves its connection', async (_what, bytes) => {
    const connections = pool()
    const [stays, goes] = await readers(connections, 2)
    await requested(2)
    server.requests[1]!.stream.write(bytes())
    expect(await goes?.ended()).toMatchObject({ status: 503 })
    await reader(connections)
    await requested(3)
    server.requests[0]!.stream.write(batch(7))
    await vi.waitFor(() => expect(stays?.seqNums).toEqual([7]))
    expect([server.open, replaced]).toEqual([2, 0])
    stays?.source?.cancel()
    await vi.waitFor(() => expect(server.open).toBe(1))
  })
})

describe('silence', () => {
  test('ends a session, and sessions to come are on a new connection', async () => {
    const connections = pool({ silenceMs: 300 })
    const [first, second] = await readers(connections, 2)
    await requested(2)
    await sleep(150)
    server.requests[1]!.stream.write(heartbeat(7))
    expect(isSilentConnection(await first?.ended())).toBe(true)
    expect([second?.ends.length, replaced]).toEqual([0, 1])
    const third = await reader(connections)
    await requested(3)
    expect(server.open).toBe(2)
    third.source?.cancel()
    expect(isSilentConnection(await second?.ended())).toBe(true)
    // The connection was left before, and is now let go.
    await vi.waitFor(() => expect(server.open).toBe(1))
    expect(replaced).toBe(1)
  })

  test('begins anew with every batch', async () => {
    const session = await reader(pool({ silenceMs: 200 }))
    await requested(1)
    for (let n = 0; n < 8; n += 1) {
      await sleep(40)
      server.requests[0]!.stream.write(n % 2 === 0 ? heartbeat(7) : batch(n))
    }
    expect(session.ends).toEqual([])
    await session.ended()
  })
})
