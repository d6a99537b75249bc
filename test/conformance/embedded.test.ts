/** The official conformance suite, as published, against a gateway on the embedded log. */
import { runConformanceTests } from '@durable-streams/server-conformance-tests'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { startGateway } from '../support/gateway.ts'

const options = { baseUrl: '', longPollTimeoutMs: 1000, subscriptions: true }
const env = { LONG_POLL_TIMEOUT_MS: '1000', ALLOW_LOCAL_WEBHOOKS: 'true' }
let cleanUp = (): Promise<void> => Promise.resolve()

beforeAll(async () => {
  const path = await mkdtemp(join(tmpdir(), 'ds-conformance-'))
  const log = await openEmbeddedLog({ location: { kind: 'directory', path } })
  const gateway = await startGateway({ log, env })
  options.baseUrl = gateway.url
  cleanUp = async () => {
    await gateway.shutdown()
    await log.close()
    await rm(path, { recursive: true })
  }
})

afterAll(() => cleanUp())

runConformanceTests(options)
