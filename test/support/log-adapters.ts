/** Every implementation of the log, for the suites that hold all of them to one contract. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { systemClock } from '../../src/clock.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import type { LogObserver } from '../../src/log/log-observer.ts'
import { observed } from '../../src/log/observed-log.ts'
import { ProjectRule } from '../../src/protocol/project.ts'
import { openMemoryProjects } from './memory-projects.ts'
import { findS2Lite, startS2Lite } from './s2-lite.ts'

const ignore = (): void => {}
const IGNORANT: LogObserver = {
  onCall: ignore,
  onReadSessionOpened: ignore,
  onReadSessionEnded: ignore,
  onRecordsDelivered: ignore,
  onAppendSessionOpened: ignore,
  onAppendSessionEnded: ignore,
}

/** `open` may be called again while the first log is closed, or, except on disk, while it is open. */
export type LogBackend = { open: () => Promise<DurableLog>; stop: () => Promise<void> }
/** What each test of a suite has: a log that is open throughout, and a new stream in it. */
export type LogPlace = {
  readonly backend: LogBackend
  readonly log: DurableLog
  readonly stream: string
}
export type LogAdapter = {
  name: string
  isMissing: boolean
  /** What a log of this kind takes for a name: itself when left out. */
  nameOf?: (text: string) => string
  start: () => Promise<LogBackend>
}

export const logAdapters: readonly LogAdapter[] = [
  {
    name: 'embedded (memory)',
    isMissing: false,
    start: () =>
      Promise.resolve({
        open: () => openEmbeddedLog({ location: { kind: 'memory' } }),
        stop: () => Promise.resolve(),
      }),
  },
  {
    name: 'embedded (memory), observed',
    isMissing: false,
    start: () =>
      Promise.resolve({
        open: async () =>
          observed(await openEmbeddedLog({ location: { kind: 'memory' } }), IGNORANT),
        stop: () => Promise.resolve(),
      }),
  },
  {
    name: 'embedded (disk)',
    isMissing: false,
    start: async () => {
      const root = await mkdtemp(join(tmpdir(), 'log-contract-'))
      let opened = 0
      return {
        open: () =>
          openEmbeddedLog({
            location: { kind: 'directory', path: join(root, `${opened++}`) },
          }),
        stop: () => rm(root, { recursive: true }),
      }
    },
  },
  {
    name: 's2-lite',
    isMissing: findS2Lite() === undefined,
    start: async () => {
      const { openS2Log } = await import('../../src/log/s2-log.ts')
      const server = await startS2Lite()
      return {
        open: () =>
          openS2Log({
            endpoint: server.url,
            accessToken: 'any',
            basin: 'log-contract',
            requestTimeoutMs: 10_000,
          }),
        stop: () => server.stop('SIGKILL'),
      }
    },
  },
  {
    name: 'projects (memory)',
    isMissing: false,
    nameOf: (text) => `a-project/${text}`,
    start: () =>
      Promise.resolve({
        // Few, so that logs are closed and opened again.
        open: () => Promise.resolve(openMemoryProjects({ maxOpen: 2 }).log),
        stop: () => Promise.resolve(),
      }),
  },
  {
    name: 'projects (s2-lite)',
    isMissing: findS2Lite() === undefined,
    nameOf: (text) => `a-project/${text}`,
    start: async () => {
      const { openS2ProjectLog } = await import('../../src/log/s2-projects.ts')
      const server = await startS2Lite()
      const rule = new ProjectRule('of-')
      return {
        open: () =>
          openS2ProjectLog({
            endpoint: server.url,
            accessToken: 'any',
            basin: 'of--gateway',
            basinPrefix: 'of-',
            isProject: (text) => rule.allows(text),
            clock: systemClock,
            maxOpen: 2,
            requestTimeoutMs: 10_000,
          }),
        stop: () => server.stop('SIGKILL'),
      }
    },
  },
]

/** Opens the adapter's log for the tests of a `describe`; `take` gets what is new for each. */
export function useLog(adapter: LogAdapter, prefix: string, take: (place: LogPlace) => void): void {
  let backend: LogBackend
  let log: DurableLog
  let streams = 0
  beforeAll(async () => {
    backend = await adapter.start()
    log = await backend.open()
  })
  afterAll(async () => {
    await log.close()
    await backend.stop()
  })
  beforeEach(async () => {
    const stream = `${prefix}/${streams++}`
    await log.createStream(stream)
    take({ backend, log, stream })
  })
}
