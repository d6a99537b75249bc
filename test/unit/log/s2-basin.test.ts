import { S2Error } from '@s2-dev/streamstore'
import { expect, test, vi } from 'vitest'
import { LogUnavailableError } from '../../../src/errors.ts'
import { BasinGuard } from '../../../src/log/s2-basin.ts'
import { BoundedCalls } from '../../../src/log/s2-calls.ts'

const failure = (status: number, code: string) =>
  new S2Error({ message: code, status, code, origin: 'server' })

const noStream = failure(404, 'stream_not_found')
const noBasin = failure(404, 'basin_not_found')
const down = failure(503, 'unavailable')

function setUp() {
  const probe = vi.fn<(signal: AbortSignal) => Promise<unknown>>().mockRejectedValue(noStream)
  const create = vi.fn<(signal: AbortSignal) => Promise<unknown>>().mockResolvedValue(undefined)
  const guard = new BasinGuard({ probe, create }, new BoundedCalls(1_000))
  return { probe, create, guard, signal: new AbortController().signal }
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
