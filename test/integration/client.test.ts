/** The official client, as published, against a gateway on the embedded log. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { runClientSuite } from '../support/client-suite.ts'

describe('@durable-streams/client on the embedded log', () => {
  runClientSuite(async (cleanUps) => {
    const path = await mkdtemp(join(tmpdir(), 'ds-client-'))
    cleanUps.add(() => rm(path, { recursive: true }))
    const log = await openEmbeddedLog({ location: { kind: 'directory', path } })
    cleanUps.add(() => log.close())
    return log
  })
})
