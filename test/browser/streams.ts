/** A stream that pages read through a relay, and a reader that is cut and misses nothing. */
import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import type { CuttingProxy } from '../support/cutting-proxy.ts'
import { JSON_TYPE, appendJson, call } from '../support/http-calls.ts'
import type { PageReader } from './reader.ts'

/** The project of all streams. */
export const PROJECT = 'browser'

export type PageStream = {
  readonly name: string
  readonly path: string
  /** Appends messages, each by itself, until there are so many. */
  readonly appendUpTo: (count: number) => Promise<void>
  readonly close: () => Promise<void>
}

/** Creates a stream past the relay, where its messages are written, too. */
export async function createStream(
  gateway: string,
  writer: Readonly<Record<string, string>> = {},
): Promise<PageStream> {
  const name = `${PROJECT}/${randomUUID()}`
  const path = `/v1/stream/${name}`
  const origin = `${gateway}${path}`
  const put = { method: 'PUT', headers: { ...JSON_TYPE, ...writer } }
  expect((await call(origin, put)).status).toBe(201)
  let appended = 0
  return {
    name,
    path,
    appendUpTo: async (count) => {
      for (; appended < count; appended += 1) {
        const { status } = await appendJson(origin, { n: appended }, { headers: writer })
        expect(status).toBe(204)
      }
    },
    close: async () => {
      const headers = { ...writer, 'stream-closed': 'true' }
      expect((await call(origin, { method: 'POST', headers })).status).toBe(204)
    },
  }
}

/** What a reader of so many messages must have seen, each once. */
export function upTo(count: number): unknown[] {
  return Array.from({ length: count }, (_, n) => ({ n }))
}

/**
 * Cuts a reader, of a stream with five messages, twice, with messages on their way and while nobody
 * is there, up to the close.
 */
export async function cutAndResumed(
  reader: PageReader,
  stream: PageStream,
  proxy: CuttingProxy,
): Promise<void> {
  await reader.received(5)
  await stream.appendUpTo(10)
  await reader.received(10)
  for (const count of [30, 50]) {
    const writing = stream.appendUpTo(count - 5)
    await reader.received(count - 15)
    proxy.cut()
    await writing
    await stream.appendUpTo(count)
    await reader.received(count)
  }
  await stream.close()
  await reader.ended()
  expect((await reader.seen()).messages).toEqual(upTo(50))
}
