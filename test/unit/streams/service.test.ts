import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { AuthError, StreamNotFoundError } from '../../../src/errors.ts'
import type { DurableLog } from '../../../src/log/log.ts'
import { parseFork } from '../../../src/protocol/fork.ts'
import { encodeTouch } from '../../../src/streams/codec.ts'
import { StreamService } from '../../../src/streams/service.ts'
import { systemClock } from '../../../src/clock.ts'
import type { Clock } from '../../../src/clock.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import {
  STREAM,
  appendRaw,
  appendRequest,
  bytes,
  foreign,
  memoryLog,
  spied,
  text,
} from './builders.ts'

const BEGINNING = { kind: 'beginning' } as const
const CREATE = {
  contentType: 'text/plain',
  expiry: { kind: 'never' },
  body: bytes(''),
  close: false,
  isPublic: false,
  fork: undefined,
} as const

function gateway(log: DurableLog, clock: Clock = new ManualClock()): StreamService {
  return new StreamService({
    log,
    clock,
    gatewayId: randomBytes(9).toString('base64url'),
    commandTimeoutMs: 1000,
    chunkCacheBytes: 1024 * 1024,
    maxOpenStreams: 10,
    lockLeaseMs: 500,
    maxAppendMessages: 100_000,
    maxProducers: 10,
    onBackgroundError: () => undefined,
  })
}

const tokenOf = async (log: DurableLog): Promise<string> => {
  const [record] = await log.read(STREAM, { seqNum: 0 }, { maxRecords: 1, maxBytes: 1000 })
  return record?.kind === 'fence' ? record.token : ''
}

describe('a read that reaches the tail', () => {
  test('sees what another gateway has acknowledged, past a page of records without data', async () => {
    const log = await memoryLog()
    const [here, there] = [gateway(log), gateway(log)]
    await here.create(STREAM, CREATE)
    await here.append(STREAM, appendRequest('a'))
    // The rest of the first page, and a little of the next, say nothing to a reader.
    const touches = Array.from({ length: 999 }, () => encodeTouch({ checkpoint: 1 }))
    await appendRaw(log, touches, await tokenOf(log))
    const { dataTail: from } = await here.describe(STREAM)
    await here.append(STREAM, appendRequest('b'))
    await there.append(STREAM, appendRequest('c', { close: true }))

    const { records, upToDate, view } = await here.read(STREAM, {
      kind: 'position',
      position: { depth: 0, seqNum: from },
    })
    expect(records.map(({ body }) => text(body))).toEqual(['b', 'c'])
    expect([upToDate, view.closed]).toEqual([true, true])
  })
})

describe('a fork', () => {
  const headers = { 'stream-forked-from': '/v1/stream/s' }
  const FORK = { ...CREATE, fork: parseFork(headers) }

  test('is not made of a source that is not confirmed, and leaves no trace of it', async () => {
    const log = await memoryLog()
    const here = gateway(log)
    await here.create(STREAM, { ...CREATE, isPublic: true })
    const refusal = new AuthError('forbidden')
    const asked: [string, boolean][] = []
    const confirm = ({ name, isPublic }: { name: string; isPublic: boolean }): void => {
      asked.push([name, isPublic])
      throw refusal
    }
    const fork = here.create('fork', FORK, STREAM, confirm)
    await expect(fork).rejects.toBe(refusal)
    expect(asked).toEqual([[STREAM, true]])
    await expect(here.describe('fork')).rejects.toBeInstanceOf(StreamNotFoundError)
    expect((await here.describe(STREAM)).hasForks).toBe(false)
  })
})

describe('a first read', () => {
  test('opens the stream with one look', async () => {
    const inner = await memoryLog()
    const there = gateway(inner)
    await there.create(STREAM, CREATE)
    await there.append(STREAM, appendRequest('a'))
    const { log, calls } = spied(inner)
    const { records } = await gateway(log).read(STREAM, BEGINNING)
    expect(records.map(({ body }) => text(body))).toEqual(['a'])
    // The last record, the page from its checkpoint, a look at the tail, and the chunk.
    expect(calls).toEqual(['read', 'read', 'checkTail', 'read'])
  })
})

describe('a gateway that has fallen behind', () => {
  test('opens the stream anew rather than read all that others have written', async () => {
    const inner = await memoryLog()
    const { log, calls } = spied(inner)
    const [here, there] = [gateway(log, systemClock), gateway(inner, systemClock)]
    await expect(here.describe(STREAM)).rejects.toThrow()
    await there.create(STREAM, CREATE)
    const token = await tokenOf(inner)
    for (let batch = 0; batch < 20; batch += 1) {
      await appendRaw(inner, Array(500).fill(foreign('x')), token)
      await there.describe(STREAM)
      await there.append(STREAM, appendRequest('y'))
    }
    calls.length = 0
    const { dataTail } = await here.describe(STREAM)
    expect(dataTail).toBe((await there.describe(STREAM)).dataTail)
    expect(calls.filter((call) => call === 'read').length).toBeLessThanOrEqual(3)
    expect((await there.read(STREAM, BEGINNING)).records.length).toBeGreaterThan(0)
  })
})
