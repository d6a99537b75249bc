/** TENANCY=project over the embedded log: names as production takes them, forks, subscriptions. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { call, createJsonStream, JSON_TYPE } from '../support/http-calls.ts'

const cleanUps = new CleanUps()
let gateway: TestGateway
let laneless: TestGateway

beforeAll(async () => {
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  cleanUps.add(() => log.close())
  const env = { TENANCY: 'project', S2_BASIN_PREFIX: 'acme-' }
  gateway = await startGateway({ log, env })
  laneless = await startGateway({ log, env: { ...env, FAST_LANE: 'off' } })
  cleanUps.add(() => gateway.shutdown())
  cleanUps.add(() => laneless.shutdown())
  await createJsonStream(gateway.stream('mobile/a'))
})
afterAll(() => cleanUps.run())

const LIVE = ['', '?offset=-1&live=long-poll', '?offset=-1&live=sse']

describe('a name without a project', () => {
  test.each(['mobile', 'Mobile/a', 'ab/a', '-gateway/a', 'mobile%2F', '%C3%A4bc/a'])(
    '%s is refused, whatever is asked for',
    async (name) => {
      const requests = [
        ...LIVE.map((query) => ({ method: 'GET', query })),
        { method: 'PUT', query: '' },
        { method: 'POST', query: '', body: '[1]' },
        { method: 'DELETE', query: '' },
      ]
      for (const { query, ...request } of requests) {
        for (const { stream } of [gateway, laneless]) {
          const url = stream(name) + query
          const { status, body } = await call(url, { ...request, headers: JSON_TYPE })
          expect([status, JSON.parse(body)]).toEqual([
            400,
            expect.objectContaining({ code: 'invalid_path' }),
          ])
        }
      }
    },
  )

  test('is none to fork', async () => {
    const headers = { ...JSON_TYPE, 'stream-forked-from': '/v1/stream/mobile' }
    const { status, body } = await call(gateway.stream('mobile/fork'), { method: 'PUT', headers })
    expect([status, body]).toEqual([400, expect.stringContaining('invalid_path')])
  })

  test.each([
    { streams: ['mobile'], wake_stream: 'mobile/wakes' },
    { streams: ['mobile/a'], wake_stream: 'wakes' },
    { pattern: '*', wake_stream: 'mobile/wakes' },
    { pattern: 'Mobile/*', wake_stream: 'mobile/wakes' },
  ])('is none to subscribe to: %j', async (asked) => {
    const body = JSON.stringify({ type: 'pull-wake', ...asked })
    const url = `${gateway.stream('__ds')}/subscriptions/refused`
    const answer = await call(url, { method: 'PUT', body })
    expect([answer.status, answer.body]).toEqual([400, expect.stringContaining('INVALID_REQUEST')])
  })
})

test('what would be our own names in a project is reserved', async () => {
  const { status, body } = await call(gateway.stream('mobile/__ds/keys'))
  expect([status, body]).toEqual([400, expect.stringContaining('reserved_path')])
})
