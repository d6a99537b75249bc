/** The official conformance suite, as published, against a gateway on a real s2-lite. */
import { runConformanceTests } from '@durable-streams/server-conformance-tests'
import { afterAll, beforeAll } from 'vitest'
import { openS2Log } from '../../src/log/s2-log.ts'
import { startGateway } from '../support/gateway.ts'
import { startS2Lite } from '../support/s2-lite.ts'

const options = { baseUrl: '', longPollTimeoutMs: 1000, subscriptions: true }
const env = { LONG_POLL_TIMEOUT_MS: '1000', ALLOW_LOCAL_WEBHOOKS: 'true' }
let cleanUp = (): Promise<void> => Promise.resolve()

beforeAll(async () => {
  const s2 = await startS2Lite()
  const log = await openS2Log({
    endpoint: s2.url,
    accessToken: 'none',
    basin: 'conformance',
    requestTimeoutMs: 5000,
  })
  const gateway = await startGateway({ log, env })
  options.baseUrl = gateway.url
  cleanUp = async () => {
    await gateway.shutdown()
    await log.close()
    await s2.stop()
  }
})

afterAll(() => cleanUp())

runConformanceTests(options)
