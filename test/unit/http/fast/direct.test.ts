import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { directWrites } from '../../../../src/http/fast/direct.ts'
import type { DirectHandle, DirectWrites } from '../../../../src/http/fast/direct.ts'

/** More than the kernel takes of a connection whose other end does not read. */
const MANY_BYTES = 32 * 1024 * 1024

const direct = directWrites as DirectWrites
const opened: { destroy: () => unknown }[] = []

afterEach(() => {
  for (const { destroy } of opened.splice(0)) destroy()
})

/** The two ends of a connection; the other one does not read yet. */
async function pair(): Promise<{ socket: Socket; client: Socket }> {
  const server = createServer({ noDelay: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause()
  const [socket] = (await once(server, 'connection')) as [Socket]
  for (const end of [client, socket]) end.on('error', () => undefined)
  opened.push(
    { destroy: () => server.close() },
    ...[client, socket].map((end) => ({ destroy: () => end.destroy() })),
  )
  return { socket, client }
}

function owner() {
  let settle: (ok: boolean) => void = () => undefined
  const done = new Promise<boolean>((resolve) => (settle = resolve))
  return { done, settled: (ok: boolean) => settle(ok) }
}

const NOBODY = { settled: () => expect.unreachable() }

async function received(client: Socket, bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of client as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    length += chunk.length
    if (length >= bytes) break
  }
  return Buffer.concat(chunks)
}

describe('a direct write', () => {
  test('is there on every Node that the gateway supports', () => {
    expect(directWrites).toBeDefined()
  })

  test('keeps its place among those of the stream', async () => {
    const { socket, client } = await pair()
    const handle = direct.open(socket) as DirectHandle
    expect(direct.write(handle, Buffer.from('a'), NOBODY)).toBe('written')
    socket.write('b')
    expect(direct.write(handle, Buffer.from('c'), NOBODY)).toBe('written')
    expect(String(await received(client, 3))).toBe('abc')
  })

  test('waits for a reader that takes nothing, and says when it has it all', async () => {
    const { socket, client } = await pair()
    const handle = direct.open(socket) as DirectHandle
    const bytes = Buffer.alloc(MANY_BYTES, 'abcdefghijklmno')
    const waits = owner()
    expect(direct.write(handle, bytes, waits)).toBe('waiting')
    expect(direct.waiting(socket)).toBeGreaterThan(0)
    // The stream's come after it.
    socket.write('end')
    const got = await received(client, MANY_BYTES + 3)
    expect(await waits.done).toBe(true)
    expect(direct.waiting(socket)).toBe(0)
    expect(got.equals(Buffer.concat([bytes, Buffer.from('end')]))).toBe(true)
  })

  test('that waits is over when its socket is destroyed', async () => {
    const { socket } = await pair()
    const waits = owner()
    const handle = direct.open(socket) as DirectHandle
    expect(direct.write(handle, Buffer.alloc(MANY_BYTES), waits)).toBe('waiting')
    socket.destroy()
    expect(await waits.done).toBe(false)
  })

  test('of one reader that waits keeps no other from the same bytes', async () => {
    const [slow, quick] = [await pair(), await pair()]
    const bytes = Buffer.alloc(MANY_BYTES, 'x')
    const waits = owner()
    expect(direct.write(direct.open(slow.socket) as DirectHandle, bytes, waits)).toBe('waiting')
    const small = bytes.subarray(0, 1000)
    const handle = direct.open(quick.socket) as DirectHandle
    expect(direct.write(handle, small, NOBODY)).toBe('written')
    expect((await received(quick.client, 1000)).equals(small)).toBe(true)
    expect((await received(slow.client, MANY_BYTES)).equals(bytes)).toBe(true)
    expect(await waits.done).toBe(true)
  })

  test('fails on a connection that the other end has reset, or is closed', async () => {
    const { socket, client } = await pair()
    const handle = direct.open(socket) as DirectHandle
    client.resetAndDestroy()
    await new Promise((resolve) => socket.once('close', resolve))
    expect(direct.write(handle, Buffer.from('x'), NOBODY)).toBe('failed')
    expect(direct.open(socket)).toBeUndefined()
  })

  test('is not for a stream that holds something back', async () => {
    const { socket, client } = await pair()
    socket.cork()
    socket.write('x')
    expect(direct.open(socket)).toBeUndefined()
    socket.uncork()
    await received(client, 1)
    socket.write(Buffer.alloc(MANY_BYTES))
    expect(direct.open(socket)).toBeUndefined()
  })

  test('is not for what has no handle that it knows', () => {
    const socket = { writableLength: 0, writable: true, connecting: false }
    for (const inside of [
      {},
      { _handle: null },
      { _handle: {} },
      { _handle: { writeBuffer: 1 } },
    ]) {
      expect(direct.open({ ...socket, ...inside } as unknown as Socket)).toBeUndefined()
      expect(direct.waiting({ ...socket, ...inside } as unknown as Socket)).toBe(0)
    }
  })
})
