/** Forks seen from a gateway that knows an earlier state of the streams (PROTOCOL §4.2). */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { startGateway } from '../support/gateway.ts'
import { call } from '../support/http-calls.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
/** More than one chunk of history, so that a read of its beginning needs no look at the tail. */
const MANY = JSON.stringify(Array.from({ length: 900 }, (_, index) => index))
const cleanups: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

async function startTwo() {
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  const [here, there] = [await startGateway({ log }), await startGateway({ log })]
  cleanups.push(async () => {
    await Promise.all([here.shutdown(), there.shutdown()])
    await log.close()
  })
  const put = (name: string, headers: Record<string, string> = {}, body = '') =>
    call(here.stream(name), { method: 'PUT', headers: { ...JSON_TYPE, ...headers }, body })
  const fork = (name: string, source: string, body = '') =>
    put(name, { 'stream-forked-from': `/v1/stream/${source}` }, body)
  const fill = async (name: string) => {
    await put(name, {}, MANY)
    await call(here.stream(name), { method: 'POST', headers: JSON_TYPE, body: MANY })
  }
  const remove = (name: string) => call(here.stream(name), { method: 'DELETE' })
  return { here, there, put, fork, fill, remove }
}

describe('a gateway that knows what was', () => {
  test('takes the offsets of a fork that stands where a plain stream stood', async () => {
    const { there, put, fork, remove } = await startTwo()
    await put('source', {}, '[1]')
    await put('x', {}, '[2]')
    expect((await call(there.stream('x'))).body).toBe('[2]')
    await remove('x')
    const { headers } = await fork('x', 'source')
    const answer = await call(
      `${there.stream('x')}?offset=${String(headers['stream-next-offset'])}`,
    )
    expect([answer.status, answer.body]).toEqual([200, '[]'])
  })

  test('serves no fork that is deleted, and no source that is', async () => {
    const { there, fork, fill, remove } = await startTwo()
    await fill('source')
    await fork('kept', 'source')
    await fork('fork', 'source')
    for (const name of ['source', 'fork', 'kept']) {
      expect((await call(there.stream(name))).status).toBe(200)
    }
    await remove('fork')
    await remove('source')
    const statuses = await Promise.all(
      ['fork', 'source', 'kept'].map(async (name) => (await call(there.stream(name))).status),
    )
    expect(statuses).toEqual([404, 410, 200])
  })

  test('tells a parked long-poll that its stream is gone, not that there was none', async () => {
    const { here, there, put, fork, remove } = await startTwo()
    await put('source', {}, '[1]')
    await fork('fork', 'source')
    const parked = call(`${there.stream('source')}?offset=now&live=long-poll`)
    await vi.waitFor(() => expect(there.hubs.subscribers).toBe(1))
    await remove('source')
    expect((await parked).status).toBe(410)
    expect((await call(here.stream('source'))).status).toBe(410)
  })
})

test('a sub-offset beyond the stream is refused without a read of all of it', async () => {
  const { there, fill } = await startTwo()
  await fill('source')
  const { status, body } = await call(there.stream('fork'), {
    method: 'PUT',
    headers: {
      'stream-forked-from': '/v1/stream/source',
      'stream-fork-offset': '-1',
      'stream-fork-sub-offset': '9000000000000000',
    },
  })
  expect([status, (JSON.parse(body) as { code: string }).code]).toEqual([400, 'invalid_fork'])
})
