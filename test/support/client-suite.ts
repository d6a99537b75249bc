/** What the official client does with a gateway, whatever its log: one suite for all of them. */
import { randomUUID } from 'node:crypto'
import { DurableStream, IdempotentProducer, stream } from '@durable-streams/client'
import type { StreamResponse } from '@durable-streams/client'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { DurableLog } from '../../src/log/log.ts'
import { CleanUps } from './clean-ups.ts'
import { startCuttingProxy } from './cutting-proxy.ts'
import type { CuttingProxy } from './cutting-proxy.ts'
import { startGateway } from './gateway.ts'
import type { TestGateway } from './gateway.ts'

type Event = { readonly n: number; readonly text: string }

const LIVE = ['long-poll', 'sse'] as const
type Live = (typeof LIVE)[number]

const events = (from: number, to: number): Event[] =>
  Array.from({ length: to - from }, (_, index) => ({
    n: from + index,
    text: `événement ${from + index}\nof two lines`,
  }))

/** Opens the log, and says how what it has started is ended. */
export type OpenLog = (cleanUps: CleanUps) => Promise<DurableLog>

/** Defines the tests. Each gateway stands behind a relay, through which the client reaches it. */
export function runClientSuite(openLog: OpenLog): void {
  const cleanUps = new CleanUps()
  let gateway: TestGateway
  let proxy: CuttingProxy

  beforeAll(async () => {
    const log = await openLog(cleanUps)
    gateway = await startGateway({ log, env: { LONG_POLL_TIMEOUT_MS: '2000' } })
    cleanUps.add(() => gateway.shutdown())
    proxy = await startCuttingProxy(Number(new URL(gateway.url).port))
    cleanUps.add(() => proxy.stop())
  })
  afterAll(() => cleanUps.run())

  const create = (contentType = 'application/json'): Promise<DurableStream> =>
    DurableStream.create({ url: `${proxy.url}/v1/stream/client/${randomUUID()}`, contentType })

  /** Appends through the official producer, which must see no error. */
  async function produce(handle: DurableStream, items: readonly Event[]): Promise<void> {
    const onError = vi.fn<(error: Error) => void>()
    const producer = new IdempotentProducer(handle, `producer-${randomUUID()}`, { onError })
    for (const [index, item] of items.entries()) {
      producer.append(JSON.stringify(item))
      // One request of the gateway's carries at most 1,000 messages.
      if (index % 900 === 899) await producer.flush()
    }
    await producer.flush()
    await producer.detach()
    expect(onError).not.toHaveBeenCalled()
  }

  async function tailOf({ url }: DurableStream): Promise<string> {
    const head = await DurableStream.head({ url })
    if (!head.exists || head.offset === undefined) throw new Error('there is no such stream')
    return head.offset
  }

  /** Catches up. With `live: false` the client reads one response, whether it is all or not. */
  async function readAll(handle: DurableStream, from = '-1'): Promise<Event[]> {
    const items: Event[] = []
    for (let offset = from; ;) {
      const response = await handle.stream<Event>({ live: false, offset })
      items.push(...(await response.json()))
      if (response.upToDate) return items
      offset = response.offset
    }
  }

  describe('writing', () => {
    test('creates a stream, finds it, tells about it and deletes it', async () => {
      const handle = await create()
      const found = await DurableStream.connect({ url: handle.url })
      expect(found.contentType).toBe('application/json')
      const head = await handle.head()
      expect(head).toMatchObject({ exists: true, contentType: 'application/json' })
      await handle.delete()
      expect(await handle.head()).toEqual({ exists: false })
    })

    test('appends JSON with its IdempotentProducer, batched and pipelined, once and in order', async () => {
      const handle = await create()
      const onError = vi.fn<(error: Error) => void>()
      const producer = new IdempotentProducer(handle, 'writer', {
        onError,
        lingerMs: 1,
        maxBatchBytes: 300,
        maxInFlight: 5,
      })
      for (const event of events(0, 500)) producer.append(JSON.stringify(event))
      await producer.flush()
      expect(onError).not.toHaveBeenCalled()
      expect(producer.lastSuccessfulOffset).toBe(await tailOf(handle))
      expect(await readAll(handle)).toEqual(events(0, 500))
    })

    test('takes over from a producer that is gone, with a higher epoch', async () => {
      const handle = await create()
      const first = new IdempotentProducer(handle, 'writer')
      first.append(JSON.stringify(events(0, 1)[0]))
      await first.flush()
      const second = new IdempotentProducer(handle, 'writer', { epoch: 1 })
      second.append(JSON.stringify(events(1, 2)[0]))
      await second.flush()
      const errors: Error[] = []
      const zombie = new IdempotentProducer(handle, 'writer', { onError: (e) => errors.push(e) })
      zombie.append(JSON.stringify(events(2, 3)[0]))
      await zombie.flush()
      expect(errors.map(({ name }) => name)).toEqual(['StaleEpochError'])
      const claiming = new IdempotentProducer(handle, 'writer', { autoClaim: true })
      claiming.append(JSON.stringify(events(3, 4)[0]))
      await claiming.flush()
      expect(claiming.epoch).toBe(2)
      expect(await readAll(handle)).toEqual([...events(0, 2), ...events(3, 4)])
    })

    test('closes with a last message, and again without effect', async () => {
      const handle = await create()
      const producer = new IdempotentProducer(handle, 'writer')
      producer.append(JSON.stringify(events(0, 1)[0]))
      const { finalOffset } = await producer.close(JSON.stringify(events(1, 2)[0]))
      expect(await readAll(handle)).toEqual(events(0, 2))
      expect(await handle.head()).toMatchObject({ offset: finalOffset, streamClosed: true })
      expect(await handle.close()).toEqual({ finalOffset })
      await expect(handle.append('1')).rejects.toMatchObject({ status: 409 })
    })

    test('appends bytes and text as they are', async () => {
      const text = await create('text/plain')
      await text.append('first\r\n')
      await text.append('zweite Zeile ✓')
      const read = await text.stream({ live: false })
      expect(await read.text()).toBe('first\r\nzweite Zeile ✓')
      const binary = await create('application/octet-stream')
      const bytes = Uint8Array.from({ length: 256 }, (_, index) => index)
      await binary.append(bytes)
      expect(await (await binary.stream({ live: false })).body()).toEqual(bytes)
    })
  })

  describe('reading', () => {
    test('catches up over many chunks, and from any offset', async () => {
      const handle = await create()
      await produce(handle, events(0, 2500))
      const middle = await tailOf(handle)
      await produce(handle, events(2500, 2600))
      expect(await readAll(handle)).toEqual(events(0, 2600))
      expect(await readAll(handle, middle)).toEqual(events(2500, 2600))
      // With its default, `live: true`, the client itself goes on to the tail.
      expect(await (await handle.stream<Event>()).json()).toEqual(events(0, 2600))
    })

    test.each(LIVE)('follows by %s: history, then what is appended, to the close', async (live) => {
      const handle = await create()
      await produce(handle, events(0, 10))
      const reader = follow(handle.url, live)
      await vi.waitFor(() => expect(reader.items).toEqual(events(0, 10)))
      for (let n = 10; n < 20; n += 1) await produce(handle, events(n, n + 1))
      await vi.waitFor(() => expect(reader.items).toEqual(events(0, 20)))
      await handle.close()
      await reader.done
      expect(reader.items).toEqual(events(0, 20))
      expect(reader.reconnects).toBe(0)
    })

    test('follows a binary stream by SSE', async () => {
      const handle = await create('application/octet-stream')
      const response = await handle.stream({ live: 'sse' })
      const received: number[] = []
      response.subscribeBytes(({ data }) => {
        received.push(...data)
      })
      await handle.append(Uint8Array.of(0, 255, 10, 13))
      await handle.append(Uint8Array.of(128))
      await vi.waitFor(() => expect(received).toEqual([0, 255, 10, 13, 128]))
      response.cancel()
    })
  })

  describe.each(LIVE)('a connection that is cut under a reader by %s', (live) => {
    test('costs neither a gap nor a repeat', async () => {
      const handle = await create()
      // Written past the relay: only the reader is cut.
      const direct = new DurableStream({
        url: handle.url.replace(proxy.url, gateway.url),
        contentType: 'application/json',
      })
      const reader = follow(handle.url, live)
      await vi.waitFor(() => expect(gateway.hubs.size).toBeGreaterThan(0))
      let sent = 0
      for (let round = 0; round < 8; round += 1) {
        // Some are on their way at the moment of the cut, and some come while nobody is there.
        const writing = produce(direct, events(sent, sent + 25))
        if (round % 2 === 1)
          await vi.waitFor(() => expect(reader.items.length).toBeGreaterThan(sent))
        proxy.cut()
        await writing
        sent += 25
        if (round % 3 === 0) await vi.waitFor(() => expect(reader.items).toEqual(events(0, sent)))
      }
      await direct.close()
      await reader.done
      expect(reader.items).toEqual(events(0, sent))
    })
  })

  /**
   * Follows a JSON stream as an application does: keeps the offset of each batch, and asks the
   * client again from there when it gives up a broken connection.
   */
  function follow(url: string, live: Live) {
    const reader = { items: [] as Event[], reconnects: 0, done: Promise.resolve() }
    const run = async (): Promise<void> => {
      let offset = '-1'
      for (;;) {
        const response: StreamResponse<Event> = await stream<Event>({ url, live, offset })
        onTestFinished(() => response.cancel())
        response.subscribeJson((batch) => {
          reader.items.push(...batch.items)
          offset = batch.offset
        })
        try {
          await response.closed
          if (response.streamClosed) return
        } catch {
          // The client leaves a broken SSE connection to the application.
        }
        reader.reconnects += 1
      }
    }
    reader.done = run()
    // Awaited at the end of the test; one that fails before that fails for its own reason.
    reader.done.catch(() => undefined)
    return reader
  }
}
