/** The rows: the gateway, and servers that do the same or less, all under the same load. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { loadConfig } from '../../src/config.ts'
import { CACHE } from './cache.ts'
import { startGateway } from './gateway.ts'
import { hasNchan, startNchan } from './nchan.ts'
import { build } from './native.ts'
import { script, startServer } from './processes.ts'
import type { Server } from './processes.ts'

/** Where `install-peers.mjs` puts it. */
export const REFERENCE_MODULE = join(
  CACHE,
  'reference/node_modules/@durable-streams/server/dist/index.js',
)

export const NCHAN = 'nchan'
export const FLOOR = 'floor: C, epoll, one buffer'

/** Paths in which `{i}` is the number of the stream. */
export type Paths = {
  readonly post: string
  /** SSE from now on, and from the beginning. */
  readonly live: string
  readonly all: string
  /** `{offset}` is the position of the reader, if the path has it. */
  readonly poll?: string
}

export type Environment = Readonly<Record<string, string>>

export type Peer = {
  readonly name: string
  readonly paths: Paths
  /** What to do about it, if it can't be started here. */
  readonly missing?: string | undefined
  /** How messages travel: each as it is, or those of a turn as one JSON array. */
  readonly posts: 'text' | 'json'
  /** Workloads that it is there for; all by default. */
  readonly only?: readonly string[]
  /** Whether readers that take nothing cost it no queue each: others would not survive them. */
  readonly holdsStalled?: boolean
  /** What it keeps of a stream for all its readers together, if not everything. */
  readonly ringBytes?: number
  /** Whether something that it needs runs where the load does. */
  readonly sharesLoadCore?: boolean
  /** Whether streams have to be made before there is a message. */
  readonly makesStreams: boolean
  /** Starts a fresh one; the directory is its own, and a gateway is told what else there is. */
  start(directory: string, settings?: Environment): Promise<Server>
}

const HOUR_MS = '3600000'
/**
 * For readers that take nothing: they stay, and every message is taken in, however late the event
 * loop is on a machine that does something else. One refused would be one that readers miss.
 */
export const PATIENCE: Environment = {
  SSE_STALL_TIMEOUT_MS: HOUR_MS,
  MAX_EVENT_LOOP_DELAY_MS: HOUR_MS,
}
const PEERS_COMMAND = 'npm run bench:peers'

const DURABLE_STREAMS: Paths = {
  post: '/v1/stream/bench-{i}',
  live: '/v1/stream/bench-{i}?offset=now&live=sse',
  all: '/v1/stream/bench-{i}?offset=-1&live=sse',
  poll: '/v1/stream/bench-{i}?offset={offset}&live=long-poll',
}
const PLAIN: Paths = { post: '/{i}', live: '/{i}', all: '/{i}?all' }

const durable = { paths: DURABLE_STREAMS, posts: 'text', makesStreams: true } as const
const plain = { paths: PLAIN, posts: 'text', makesStreams: false } as const

/** @param s2 the URL of an s2-lite; without one the rows over it are missing */
export function peers(s2: string | undefined): readonly Peer[] {
  const withoutS2 = s2 === undefined ? 'npm run s2-lite:install' : undefined
  return [
    {
      ...durable,
      name: 'gateway',
      holdsStalled: true,
      ringBytes: loadConfig({}).MAX_RING_BYTES,
      start: startOnDisk,
    },
    {
      ...durable,
      name: 'gateway, one JSON POST',
      posts: 'json',
      only: ['burst'],
      start: startOnDisk,
    },
    {
      ...durable,
      name: 'gateway, s2-lite',
      only: ['steady-1k'],
      missing: withoutS2,
      sharesLoadCore: true,
      start: () => startPatient({ S2_ENDPOINT: s2 ?? '' }),
    },
    {
      ...plain,
      name: 'Node, SDK, s2-lite',
      only: ['steady-1k'],
      missing: withoutS2,
      sharesLoadCore: true,
      start: () => startServer(script('bare-s2.ts', s2 ?? '')),
    },
    {
      ...plain,
      name: NCHAN,
      paths: { post: '/publish/{i}', live: '/live/{i}', all: '/all/{i}', poll: '/poll/{i}' },
      missing: hasNchan() ? undefined : PEERS_COMMAND,
      start: startNchan,
    },
    {
      ...durable,
      name: 'reference server',
      missing: existsSync(REFERENCE_MODULE) ? undefined : PEERS_COMMAND,
      start: () => startServer(script('reference-server.ts')),
    },
    { ...plain, name: 'Node, res.write', start: () => startServer(script('bare-sse.ts')) },
    {
      ...plain,
      name: FLOOR,
      holdsStalled: true,
      start: () => startServer([build('floor', ['floor.c', 'loop.c'])]),
    },
  ]
}

function startOnDisk(directory: string, settings?: Environment): Promise<Server> {
  return startPatient({ DATA_DIR: directory, ...settings })
}

/** Nobody is sent away within a run. */
function startPatient(log: Environment): Promise<Server> {
  return startGateway({ SSE_LIFETIME_MS: HOUR_MS, LONG_POLL_TIMEOUT_MS: HOUR_MS, ...log })
}

/** Makes the streams that a load is about to post to. */
export async function makeStreams(peer: Peer, url: string, streams: number): Promise<void> {
  if (!peer.makesStreams) return
  const headers = { 'content-type': mediaType(peer) }
  for (let index = 0; index < streams; index += 1) {
    const path = peer.paths.post.replace('{i}', String(index))
    const { status } = await fetch(`${url}${path}`, { method: 'PUT', headers })
    if (status >= 300) throw new Error(`${peer.name} answered ${status} to PUT ${path}`)
  }
}

export function mediaType({ posts }: Peer): string {
  return posts === 'json' ? 'application/json' : 'text/plain'
}
