/** The connections of read sessions, against an HTTP/2 server. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { batch } from '../../support/read-server.ts'
import { pool, reader, readers, replaced, requested, server, startServer } from './read-sessions.ts'

const WINDOW = 64 * 1024 * 1024

beforeEach(() => startServer())
afterEach(() => server.stop())

describe('connections', () => {
  test('are shared by a hundred sessions each', async () => {
    const connections = pool()
    await readers(connections, 150)
    await requested(150)
    expect(server.connections).toHaveLength(2)
    await readers(connections, 50)
    await requested(200)
    expect(server.connections).toHaveLength(2)
  })

  test('get no more sessions than S2 allows, also those that came before it said so', async () => {
    await server.stop()
    await startServer(7)
    const connections = pool()
    await readers(connections, 20)
    await requested(20)
    expect(server.connections).toHaveLength(3)
    const perConnection = server.connections.map(
      (session) => server.requests.filter(({ stream }) => stream.session === session).length,
    )
    expect(perConnection).toEqual([7, 7, 6])
  })

  test('have room again for each session that has ended', async () => {
    const connections = pool()
    const sessions = await readers(connections, 100)
    await requested(100)
    sessions[3]?.source?.cancel()
    await vi.waitFor(() => expect(server.requests[3]?.stream.closed).toBe(true))
    await reader(connections)
    await requested(101)
    expect(server.connections).toHaveLength(1)
  })

  test('acknowledge what was read at once, by a window that grows', async () => {
    const session = await reader(pool())
    await requested(1)
    const [connection] = server.connections
    await vi.waitFor(() => expect(connection?.state.remoteWindowSize).toBe(WINDOW))
    let sent = 0
    for (let seqNum = 7; seqNum < 17; seqNum += 1) {
      const bytes = batch(seqNum, 1000)
      server.requests[0]!.stream.write(bytes)
      sent += bytes.length
      const grown = seqNum - 6
      await vi.waitFor(
        () => expect(connection?.state.remoteWindowSize).toBe(WINDOW - sent + grown),
        { interval: 1 },
      )
    }
    expect(session.seqNums).toHaveLength(10)
  })

  test('acknowledge once what all sessions read in one turn', async () => {
    const sessions = await readers(pool(), 20)
    await requested(20)
    const [connection] = server.connections
    const bytes = batch(7)
    // Written by one turn of the server, and read by one of the client.
    for (const { stream } of server.requests) stream.write(bytes)
    await vi.waitFor(() =>
      expect(sessions.map(({ seqNums }) => seqNums[0])).not.toContain(undefined),
    )
    await sleep(20)
    const grown = connection!.state.remoteWindowSize! - WINDOW + 20 * bytes.length
    expect(grown).toBeGreaterThanOrEqual(1)
    expect(grown).toBeLessThanOrEqual(5)
  })

  test('are left when their window can not grow any more, and nothing is lost', async () => {
    const connections = pool({ maxWindowBytes: WINDOW + 2 })
    const session = await reader(connections)
    await requested(1)
    for (const seqNum of [7, 8]) {
      server.requests[0]!.stream.write(batch(seqNum))
      await vi.waitFor(() => expect(session.seqNums).toContain(seqNum))
      await sleep(5)
    }
    server.requests[0]!.stream.write(batch(9))
    expect(await session.ended()).toMatchObject({ origin: 'sdk' })
    expect(session.seqNums.slice(0, 2)).toEqual([7, 8])
    await reader(connections)
    await requested(2)
    expect(server.connections).toHaveLength(2)
  })

  test('without a session are closed after a while', async () => {
    const connections = pool({ idleMs: 30 })
    const session = await reader(connections)
    await requested(1)
    await sleep(60)
    expect(server.open).toBe(1)
    session.source?.cancel()
    await vi.waitFor(() => expect(server.open).toBe(0))
  })

  test('that are replaced keep the sessions they have', async () => {
    const connections = pool()
    const session = await reader(connections)
    await requested(1)
    connections.replace()
    await reader(connections)
    await requested(2)
    server.requests[0]!.stream.write(batch(7))
    await vi.waitFor(() => expect(session.seqNums).toEqual([7]))
    expect([server.open, session.ends.length, replaced]).toEqual([2, 0, 0])
  })

  test('are all closed at the end, and none is opened any more', async () => {
    const connections = pool()
    const session = await reader(connections)
    const opening = reader(pool({ origin: server.url }))
    connections.close()
    connections.close()
    await session.ended()
    await expect(reader(connections)).rejects.toMatchObject({ origin: 'sdk' })
    await opening
  })
})

describe('connecting', () => {
  test('is refused at once where nobody listens', async () => {
    const connections = pool()
    await server.stop()
    await expect(reader(connections)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await startServer()
  })

  test('is given up when nothing answers, by all who wait for it', async () => {
    const mute = createServer(() => undefined).listen(0, '127.0.0.1')
    await once(mute, 'listening')
    onTestFinished(() => void mute.close())
    const { port } = mute.address() as AddressInfo
    const connections = pool({ origin: `http://127.0.0.1:${port}`, connectTimeoutMs: 50 })
    const openings = await Promise.allSettled(Array.from({ length: 3 }, () => reader(connections)))
    for (const opening of openings) {
      expect(opening).toMatchObject({ reason: { code: 'CONNECTION_TIMEOUT' } })
    }
  })

  test('ends with the pool', async () => {
    const mute = createServer(() => undefined).listen(0, '127.0.0.1')
    await once(mute, 'listening')
    onTestFinished(() => void mute.close())
    const { port } = mute.address() as AddressInfo
    connect(port, '127.0.0.1').destroy()
    const connections = pool({ origin: `http://127.0.0.1:${port}` })
    const opening = reader(connections)
    await sleep(10)
    connections.close()
    await expect(opening).rejects.toMatchObject({ origin: 'sdk' })
  })
})
