import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../../../src/clock.ts'
import type { Connection } from '../../../../src/http/fast/connection.ts'
import { Connections } from '../../../../src/http/fast/connections.ts'
import { directWrites } from '../../../../src/http/fast/direct.ts'
import { LiveLines } from '../../../../src/http/plugins/request-log.ts'
import { Wheel } from '../../../../src/http/wheel.ts'
import { LAST_CHUNK, toChunk } from '../../../../src/protocol/chunk.ts'
import { seededRandom } from '../../../support/flaky-log.ts'

const ANSWERS = 4
const EVENTS = 30
/** From what fits anywhere to what no kernel takes at once. */
const SIZES = [10, 300, 20_000, 400_000, 4_000_000]
const LINES = new LiveLines({ level: 'silent' } as FastifyBaseLogger)
const REQUEST = 'GET /v1/stream/s?offset=-1&live=sse HTTP/1.1\r\nHost: h\r\n\r\n'

/** Answers each request of a connection with events of all sizes, at whatever pace it takes them. */
async function exchange(seed: number, direct: typeof directWrites) {
  const random = seededRandom(seed)
  const sent: Buffer[] = []
  const ends: number[] = []
  const answer = async (connection: Connection): Promise<void> => {
    let drained: () => void = () => undefined
    const number = ends.push(0) - 1
    connection.own({
      drained: () => drained(),
      closed: () => (ends[number] = (ends[number] ?? 0) + 1),
    })
    const head = Buffer.from(`HEAD ${number}\r\n`)
    sent.push(head)
    connection.begin(head, LINES.begin({ path: '/', live: 'sse' }))
    connection.flush()
    for (let event = 0; event < EVENTS; event += 1) {
      const size = SIZES[Math.floor(random() ** 2 * SIZES.length)] ?? 1
      const chunk = toChunk(Buffer.alloc(size, `${number}.${event} `))
      sent.push(chunk.framed)
      const hasRoom = connection.send(chunk)
      // A control event may come whether there is room or not.
      if (!hasRoom && random() < 0.7) await new Promise<void>((resolve) => (drained = resolve))
      if (random() < 0.3) await turn()
    }
    sent.push(LAST_CHUNK)
    connection.end()
  }
  const connections = new Connections({
    serve: (_sent, connection) => void answer(connection),
    toNode: () => expect.unreachable(),
    refuseLate: () => expect.unreachable(),
    admits: () => true,
    isLeaving: () => false,
    direct,
    wheel: new Wheel(systemClock, 1000),
    firstMs: 60_000,
    keepAliveMs: 60_000,
  })
  const server = createServer((socket: Socket) => connections.open(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.write(REQUEST)
  const got: Buffer[] = []
  let [answers, tail] = [0, Buffer.alloc(0)]
  for await (const bytes of client as AsyncIterable<Buffer>) {
    got.push(bytes)
    tail = Buffer.concat([tail, bytes]).subarray(-LAST_CHUNK.length)
    if (random() < 0.2) await turn()
    if (!tail.equals(LAST_CHUNK)) continue
    answers += 1
    if (answers === ANSWERS) break
    client.write(REQUEST)
  }
  for (const connection of connections.all()) connection.destroy()
  server.close()
  return { got: Buffer.concat(got), sent: Buffer.concat(sent), ends }
}

describe.each([
  ['past its stream', directWrites],
  ['by its stream', undefined],
])('a connection that is written to %s', (_name, direct) => {
  test.each([1, 2, 3, 4, 5])('brings all, in order and once: seed %i', async (seed) => {
    const { got, sent, ends } = await exchange(seed, direct)
    expect(got.equals(sent)).toBe(true)
    expect(ends).toEqual(Array.from({ length: ANSWERS }, () => 1))
  })
})
