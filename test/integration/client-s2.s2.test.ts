/** The official client, as published, against a gateway on a real s2-lite. */
import { describe } from 'vitest'
import { openS2Log } from '../../src/log/s2-log.ts'
import { runClientSuite } from '../support/client-suite.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'

describe.skipIf(findS2Lite() === undefined)('@durable-streams/client on s2-lite', () => {
  runClientSuite(async (cleanUps) => {
    const s2 = await startS2Lite()
    cleanUps.add(() => s2.stop('SIGKILL'))
    const log = await openS2Log({
      endpoint: s2.url,
      accessToken: 'none',
      basin: 'official-client',
      requestTimeoutMs: 5000,
    })
    cleanUps.add(() => log.close())
    return log
  })
})
