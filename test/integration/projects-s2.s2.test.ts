/** TENANCY=project over a real s2-lite: each project has a basin of its own. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { S2 } from '@s2-dev/streamstore'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/clock.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { openS2ProjectLog } from '../../src/log/s2-projects.ts'
import { ProjectRule } from '../../src/protocol/project.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { appendJson, call, createJsonStream, JSON_TYPE, readJson } from '../support/http-calls.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'
import type { S2Lite } from '../support/s2-lite.ts'

const PREFIX = 'acme-'
const OWN = 'acme--gateway'

describe.skipIf(findS2Lite() === undefined)('projects in S2', () => {
  const cleanUps = new CleanUps()
  let s2: S2Lite
  let account: S2

  beforeAll(async () => {
    const root = await mkdtemp(join(tmpdir(), 'ds-projects-'))
    cleanUps.add(() => rm(root, { recursive: true }))
    s2 = await startS2Lite({ localRoot: root })
    cleanUps.add(() => s2.stop('SIGKILL'))
    const { url } = s2
    account = new S2({ accessToken: 'any', endpoints: { account: url, basin: url } })
  })
  afterAll(() => cleanUps.run())

  async function openLog(maxOpen = 100): Promise<DurableLog> {
    const rule = new ProjectRule(PREFIX)
    const log = await openS2ProjectLog({
      endpoint: s2.url,
      accessToken: 'any',
      basin: OWN,
      basinPrefix: PREFIX,
      isProject: (text) => rule.allows(text),
      clock: systemClock,
      maxOpen,
      requestTimeoutMs: 2000,
    })
    onTestFinished(() => log.close())
    return log
  }

  async function start(maxOpen?: number): Promise<TestGateway> {
    const log = await openLog(maxOpen)
    const env = { TENANCY: 'project', S2_BASIN_PREFIX: PREFIX, SUBSCRIPTION_TAKEOVER_MS: '1000' }
    const gateway = await startGateway({ log, env })
    onTestFinished(() => gateway.shutdown())
    return gateway
  }

  const basins = async () => (await account.basins.list({})).basins.map(({ name }) => name)
  const streamsIn = async (project: string) =>
    (await account.basin(PREFIX + project).streams.list({})).streams.map(({ name }) => name)

  test('do not see each other, and outlive their gateway', async () => {
    const first = await start()
    for (const project of ['one', 'two']) {
      await createJsonStream(first.stream(`${project}x/same/name`))
      await appendJson(first.stream(`${project}x/same/name`), project)
    }
    const second = await start(1)
    for (const { stream } of [first, second]) {
      expect(await readJson(stream('onex/same/name'))).toEqual(['one'])
      expect(await readJson(stream('twox/same/name'))).toEqual(['two'])
    }
    expect(await streamsIn('onex')).toEqual(['same/name'])
    expect(await basins()).toEqual(expect.arrayContaining([OWN, 'acme-onex', 'acme-twox']))

    expect((await call(first.stream('onex/same/name'), { method: 'DELETE' })).status).toBe(204)
    expect((await call(second.stream('onex/same/name'))).status).toBe(404)
    expect(await readJson(second.stream('twox/same/name'))).toEqual(['two'])
  })

  test('are not made by asking for what they do not have', async () => {
    const gateway = await start()
    const before = await basins()
    const url = gateway.stream('unknown/a')
    for (const method of ['GET', 'HEAD', 'DELETE']) {
      expect([method, (await call(url, { method })).status]).toEqual([method, 404])
    }
    for (const live of ['sse', 'long-poll']) {
      expect((await call(`${url}?offset=-1&live=${live}`)).status).toBe(404)
    }
    expect((await appendJson(url, 1)).status).toBe(404)
    const fork = { ...JSON_TYPE, 'stream-forked-from': '/v1/stream/unknown/a' }
    const forked = await call(gateway.stream('unknown/b'), { method: 'PUT', headers: fork })
    expect(forked.status).toBe(404)
    expect(await basins()).toEqual(before)
    await createJsonStream(url)
    expect(await basins()).toEqual([...before, 'acme-unknown'].sort())
  })

  test('are made once by many first streams at the same time', async () => {
    const gateways = [await start(), await start()]
    const urls = Array.from({ length: 10 }, (_, at) => gateways[at % 2]!.stream(`many/${at}`))
    await Promise.all(urls.map((url) => createJsonStream(url)))
    expect((await streamsIn('many')).length).toBe(10)
  })

  test('can be forked into each other', async () => {
    const gateway = await start()
    await createJsonStream(gateway.stream('source/a'))
    await appendJson(gateway.stream('source/a'), 1)
    const headers = { ...JSON_TYPE, 'stream-forked-from': '/v1/stream/source/a' }
    const forked = await call(gateway.stream('forks/a'), { method: 'PUT', headers })
    expect(forked.status).toBe(201)
    await appendJson(gateway.stream('forks/a'), 2)
    await appendJson(gateway.stream('source/a'), 3)
    const { stream } = await start()
    expect(await readJson(stream('forks/a'))).toEqual([1, 2])
    expect(await readJson(stream('source/a'))).toEqual([1, 3])
    await call(stream('source/a'), { method: 'DELETE' })
    expect((await call(stream('source/a'))).status).toBe(410)
    expect(await readJson(stream('forks/a'))).toEqual([1, 2])
  })

  test('are subscribed to one at a time, or several by a pattern that spans them', async () => {
    const gateway = await start()
    const names = ['jobs/a', 'jobs/b', 'jobs-two/a', 'jobs2/a']
    for (const name of [...names, 'wakes/all']) await createJsonStream(gateway.stream(name))
    const subscribe = async (id: string, pattern: string) => {
      const body = JSON.stringify({ type: 'pull-wake', pattern, wake_stream: 'wakes/all' })
      const url = `${gateway.stream('__ds')}/subscriptions/${id}`
      const answer = await call(url, { method: 'PUT', body })
      expect(answer.status).toBe(201)
      const { streams } = JSON.parse(answer.body) as { streams: { path: string }[] }
      return streams.map(({ path }) => path).filter((path) => path.startsWith('jobs'))
    }
    expect((await subscribe('one', 'jobs/**')).sort()).toEqual(['jobs/a', 'jobs/b'])
    expect((await subscribe('all', '*/a')).sort()).toEqual(['jobs-two/a', 'jobs/a', 'jobs2/a'])
    await appendJson(gateway.stream('jobs/b'), 1)
    await expect
      .poll(async () => JSON.stringify(await readJson(gateway.stream('wakes/all'))), {
        timeout: 5000,
      })
      .toContain('"one"')
    expect(await streamsIn('jobs')).toEqual(['a', 'b'])
    const own = (await account.basin(OWN).streams.list({})).streams.map(({ name }) => name)
    expect(own).toContain('__ds/directory')
    expect(own.filter((name) => !name.startsWith('__ds/'))).toEqual([])
  })

  test('are listed to the end when they are as long as may be', async () => {
    const log = await openLog()
    const long = ['y'.repeat(42), 'y'.repeat(43), `${'y'.repeat(41)}-y`]
    for (const project of long) await log.createStream(`${project}/a`)
    const found: string[] = []
    for (let page = await log.listStreams('yyy', ''); page.length > 0;) {
      found.push(...page)
      page = await log.listStreams('yyy', page.at(-1) ?? '')
    }
    const expected = long.map((project) => `${project}/a`)
    expect(found).toEqual(expected.sort())
    expect(await log.listStreams('y'.repeat(60), '')).toEqual([])
  })

  test('are back when S2 is, with all that was acknowledged', async () => {
    const gateway = await start()
    await createJsonStream(gateway.stream('kept/a'))
    await appendJson(gateway.stream('kept/a'), 1)
    await s2.restart('SIGKILL')
    await expect
      .poll(() => readJson(gateway.stream('kept/a')).catch(() => 'not yet'), { timeout: 15_000 })
      .toEqual([1])
    expect((await appendJson(gateway.stream('kept/a'), 2)).status).toBe(204)
    await createJsonStream(gateway.stream('fresh/a'))
    expect(await readJson(gateway.stream('kept/a'))).toEqual([1, 2])
  })
})
