/** A gateway process, a relay that counts what reaches it, and a shared cache in front of both. */
import { randomUUID } from 'node:crypto'
import { expect, vi } from 'vitest'
import type { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { Environment } from '../support/gateway-process.ts'
import { JSON_TYPE, appendJson, call } from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'
import { RecordingRelay } from '../support/recording-relay.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import type { SharedCache } from './caches.ts'

export type Site = {
  readonly relay: RecordingRelay
  /** A new name for a stream. Its URL is the cache's; `origin` has that of the gateway itself. */
  readonly stream: () => SiteStream
  /**
   * Resolves once so many requests wait, in the cache, for the answer to another one; or once
   * `unless` is settled: not every cache lets every request wait.
   */
  readonly waiting: (count: number, unless?: Promise<unknown>) => Promise<void>
  /** Starts the gateway anew, with some variables changed. The cache goes on. */
  readonly restart: (env: Environment) => Promise<void>
}

export type SiteStream = {
  /** Where readers ask: the cache. */
  readonly url: string
  /** Where writers write, past cache and relay. */
  readonly origin: string
  create(headers?: Readonly<Record<string, string>>): Promise<void>
  append(message: unknown): Promise<void>
  close(): Promise<void>
}

/** What the writers of a test send with every request: a token, say. */
type WriterHeaders = Readonly<Record<string, string>>

export async function startSite(
  cache: SharedCache,
  cleanUps: CleanUps,
  env: Environment = {},
  writer: WriterHeaders = {},
): Promise<Site> {
  const where = { DATA_DIR: await temporaryDirectory(cleanUps), PORT: String(await freePort()) }
  const start = (changes: Environment = {}) =>
    startGatewayProcess({ AUTH: 'none', ...where, ...env, ...changes }, { cleanUps })
  let gateway = await start()
  const relay = await RecordingRelay.start(gateway.url, cleanUps)
  const running = await cache.start(relay, cleanUps)
  return {
    relay,
    stream: () => {
      const name = `cache/${randomUUID()}`
      return streamAt(`${running.url}/v1/stream/${name}`, gateway.stream(name), writer)
    },
    restart: async (changes) => {
      await gateway.stop()
      gateway = await start(changes)
    },
    waiting: async (count, unless) => {
      let isSettled = false
      const settle = (): void => void (isSettled = true)
      unless?.then(settle, settle)
      const poll = { timeout: 10_000, interval: 20 }
      await vi.waitFor(async () => {
        if (!isSettled) expect(await running.waiting()).toBe(count)
      }, poll)
    },
  }
}

function streamAt(url: string, origin: string, writer: WriterHeaders): SiteStream {
  const post = async (more: Record<string, string>, message?: unknown): Promise<void> => {
    const headers = { ...writer, ...more }
    const answer =
      message === undefined
        ? await call(origin, { method: 'POST', headers })
        : await appendJson(origin, message, { headers })
    expect(answer).toMatchObject({ status: 204 })
  }
  return {
    url,
    origin,
    create: async (headers = {}) => {
      const all = { ...JSON_TYPE, ...writer, ...headers }
      expect((await call(origin, { method: 'PUT', headers: all })).status).toBe(201)
    },
    append: (message) => post({}, message),
    close: () => post({ 'stream-closed': 'true' }),
  }
}

/** The offset at which an answer ends. */
export function nextOffset({ headers }: Answer): string {
  return String(headers['stream-next-offset'])
}

/** The URL of the long-poll that follows an answer to one. */
export function nextPoll(url: string, { headers }: Answer): string {
  const { 'stream-cursor': cursor, 'stream-next-offset': offset } = headers
  return pollUrl(url, String(offset), String(cursor))
}

export function pollUrl(url: string, offset: string, cursor = '1'): string {
  return `${url}?cursor=${cursor}&live=long-poll&offset=${offset}`
}
