/**
 * The official conformance suite, as published, against three gateways over one real s2-lite:
 * each request goes to the next of them.
 */
import { runConformanceTests } from '@durable-streams/server-conformance-tests'
import { afterAll, beforeAll, expect } from 'vitest'
import { openS2Log } from '../../src/log/s2-log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import { startRoundRobin } from '../support/round-robin.ts'
import { startS2Lite } from '../support/s2-lite.ts'

const options = { baseUrl: '', longPollTimeoutMs: 1000, subscriptions: true }
const env = { LONG_POLL_TIMEOUT_MS: '1000', ALLOW_LOCAL_WEBHOOKS: 'true' }
const GATEWAYS = 3
const cleanUps = new CleanUps()

beforeAll(async () => {
  const s2 = await startS2Lite()
  cleanUps.add(() => s2.stop())
  const urls: string[] = []
  for (let index = 0; index < GATEWAYS; index += 1) {
    const log = await openS2Log({
      endpoint: s2.url,
      accessToken: 'none',
      basin: 'three-gateways',
      requestTimeoutMs: 5000,
    })
    cleanUps.add(() => log.close())
    const gateway = await startGateway({ log, env })
    cleanUps.add(() => gateway.shutdown())
    urls.push(gateway.url)
  }
  const balancer = await startRoundRobin(urls)
  cleanUps.add(async () => {
    // Otherwise it was not three that were tried.
    expect(Math.min(...balancer.counts)).toBeGreaterThan(100)
    await balancer.stop()
  })
  options.baseUrl = balancer.url
})

afterAll(() => cleanUps.run())

runConformanceTests(options)
