import { S2Error } from '@s2-dev/streamstore'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { LogUnavailableError } from '../../../src/errors.ts'
import { BasinGuard, LateBasin } from '../../../src/log/s2-basin.ts'
import { BoundedCalls } from '../../../src/log/s2-calls.ts'
import { isStreamMissing } from '../../../src/log/s2-errors.ts'

const failure = (status: number, code: string) =>
  new S2Error({ message: code, status, code, origin: 'server' })

const noStream = failure(404, 'stream_not_found')
const noBasin = failure(404, 'basin_not_found')
const down = failure(503, 'unavailable')

function setUp() {
  const probe = vi.fn<(signal: AbortSignal) => Promise<unknown>>().mockRejectedValue(noStream)
  const create = vi.fn<(signal: AbortSignal) => Promise<unknown>>().mockResolvedValue(undefined)
  const guard = new BasinGuard({ probe, create }, new BoundedCalls(1_000))
  const late = new LateBasin({ probe, create })
  return { probe, create, guard, late, signal: new AbortController().signal }
}

test('a basin that is there is asked for once, by whoever comes first', async () => {
  const { probe, create, guard, signal } = setUp()
  await Promise.all([guard.ready(signal), guard.ready(signal)])
  await guard.ready(signal)
  expect(probe).toHaveBeenCalledTimes(1)
  expect(create).not.toHaveBeenCalled()
})

test('a missing basin is created, and one that somebody created meanwhile is as good', async () => {
  const { probe, create, guard, signal } = setUp()
  probe.mockRejectedValueOnce(noBasin)
  create.mockRejectedValueOnce(failure(409, 'resource_already_exists'))
  await guard.ready(signal)
  expect(create).toHaveBeenCalledTimes(1)
})

test('a missing basin that the token may not create leaves the log unavailable, for now', async () => {
  const { probe, create, guard, signal } = setUp()
  probe.mockRejectedValueOnce(noBasin)
  create.mockRejectedValueOnce(failure(403, 'permission_denied'))
  const result: unknown = await guard.ready(signal).catch((error: unknown) => error)
  expect(result).toBeInstanceOf(LogUnavailableError)
  expect(result).toMatchObject({ cause: { message: 'S2 refused the access token (403)' } })
  await guard.ready(signal)
})

test('a failed check is made again by the next call', async () => {
  const { probe, guard, signal } = setUp()
  probe.mockRejectedValueOnce(down)
  await expect(guard.ready(signal)).rejects.toThrow(LogUnavailableError)
  await guard.ready(signal)
  expect(probe).toHaveBeenCalledTimes(2)
})

test('a wait that is given up does not end the check for others, nor keep its failure', async () => {
  const { probe, guard, signal } = setUp()
  let fail: (error: unknown) => void = () => undefined
  probe.mockReturnValueOnce(new Promise((_, reject) => (fail = reject)))
  const controller = new AbortController()
  const impatient = guard.ready(controller.signal)
  const patient = guard.ready(signal)
  controller.abort()
  await expect(impatient).rejects.toThrow(LogUnavailableError)
  fail(down)
  await expect(patient).rejects.toThrow(LogUnavailableError)
  await guard.ready(signal)
})

test('a ping always asks', async () => {
  const { probe, guard, signal } = setUp()
  await guard.ping(signal)
  await guard.ping(signal)
  probe.mockRejectedValueOnce(down)
  await expect(guard.ping(signal)).rejects.toThrow(down)
  expect(probe).toHaveBeenCalledTimes(3)
})

describe('a basin that comes with its first stream', () => {
  const createStream = vi.fn<() => Promise<unknown>>()
  beforeEach(() => void createStream.mockReset().mockResolvedValue(undefined))

  test('is not asked for before a call, and not created by one that only asks', async () => {
    const { probe, create, late, signal } = setUp()
    await late.ready()
    expect(probe).not.toHaveBeenCalled()
    probe.mockRejectedValueOnce(noBasin)
    await late.ping(signal)
    expect(create).not.toHaveBeenCalled()
  })

  test('has no streams while it is missing', () => {
    const { late } = setUp()
    expect(isStreamMissing(late.explain(noBasin))).toBe(true)
    expect(late.explain(down)).toBe(down)
  })

  test('is created when a stream finds it missing, and then the stream is', async () => {
    const { create, late, signal } = setUp()
    await late.creating(createStream, signal)
    expect(create).not.toHaveBeenCalled()
    createStream.mockRejectedValueOnce(noBasin)
    await late.creating(createStream, signal)
    expect(create).toHaveBeenCalledTimes(1)
    expect(createStream).toHaveBeenCalledTimes(3)
  })

  test('that somebody created meanwhile is as good', async () => {
    const { create, late, signal } = setUp()
    createStream.mockRejectedValueOnce(noBasin)
    create.mockRejectedValueOnce(failure(409, 'resource_already_exists'))
    await late.creating(createStream, signal)
    expect(createStream).toHaveBeenCalledTimes(2)
  })

  test('is not created for a stream that fails for another reason', async () => {
    const { create, late, signal } = setUp()
    createStream.mockRejectedValueOnce(down)
    await expect(late.creating(createStream, signal)).rejects.toThrow(down)
    expect(create).not.toHaveBeenCalled()
  })

  test('that the token may not create is a refusal', async () => {
    const { create, late, signal } = setUp()
    createStream.mockRejectedValueOnce(noBasin)
    create.mockRejectedValueOnce(failure(403, 'permission_denied'))
    await expect(late.creating(createStream, signal)).rejects.toMatchObject({ status: 403 })
  })
})
