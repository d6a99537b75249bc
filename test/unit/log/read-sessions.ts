/** Read sessions of a pool of connections with an HTTP/2 server, which is another for each test. */
import { expect, onTestFinished, vi } from 'vitest'
import {
  ReadConnections,
  type ReadConnectionsOptions,
} from '../../../src/log/s2-read-connections.ts'
import { BasinEndpoint } from '../../../src/log/s2-endpoint.ts'
import type { ReadSource } from '../../../src/log/s2-read-source.ts'
import { ReadServer } from '../../support/read-server.ts'

/** Says what requests carry; where they go is the pool's. */
const BASIN = new BasinEndpoint({
  endpoint: 'http://s2.test',
  accessToken: 'a-token',
  basin: 'some-basin',
})

/** The server of this test. */
export let server: ReadServer
/** How often its pools have left a connection. */
export let replaced: number

/** To be stopped before the next one. */
export async function startServer(maxConcurrentStreams?: number): Promise<void> {
  server = await ReadServer.start(maxConcurrentStreams)
  replaced = 0
}

export function pool(options: Partial<ReadConnectionsOptions> = {}): ReadConnections {
  const connections = new ReadConnections({
    origin: server.url,
    onReplaced: () => (replaced += 1),
    ...options,
  })
  onTestFinished(() => connections.close())
  return connections
}

/** A session, and all that it was told. */
class Reader {
  readonly seqNums: number[] = []
  readonly tails: (number | undefined)[] = []
  readonly ends: unknown[] = []
  source: ReadSource | undefined

  async open(connections: ReadConnections, stream = 'a/b'): Promise<this> {
    this.source = await connections.open(
      { endpoint: BASIN, stream, from: 7 },
      {
        onBatch: ({ records, tail }) => {
          this.seqNums.push(...records.map(({ seqNum }) => seqNum))
          this.tails.push(tail)
        },
        onEnd: (cause) => this.ends.push(cause),
      },
    )
    return this
  }

  async ended(): Promise<unknown> {
    await vi.waitFor(() => expect(this.ends).toHaveLength(1), { interval: 2 })
    return this.ends[0]
  }
}

export const reader = (connections: ReadConnections, stream?: string) =>
  new Reader().open(connections, stream)
export const readers = (connections: ReadConnections, count: number) =>
  Promise.all(Array.from({ length: count }, () => reader(connections)))
/** Resolves when the server has got as many sessions. */
export const requested = (count: number) =>
  vi.waitFor(() => expect(server.requests).toHaveLength(count), { interval: 2 })
