/** Where a gateway listens: what it counts and serves is the connections of one server. */
import dns from 'node:dns'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { startGateway } from '../support/gateway.ts'

/** As most systems have it with 127.0.0.1 and ::1, of which the latter is not everywhere. */
const LOCALHOST = ['127.0.0.1', '127.0.0.2']

function lookup(host: string, ...rest: unknown[]): void {
  const answer = rest.pop() as (error: null, ...found: unknown[]) => void
  const [{ all } = {}] = rest as dns.LookupOptions[]
  const found = host === 'localhost' ? LOCALHOST : [host]
  if (all === true) {
    answer(
      null,
      found.map((address) => ({ address, family: 4 })),
    )
  } else answer(null, found[0], 4)
}

afterEach(() => vi.restoreAllMocks())

describe('a gateway whose host is a name of two addresses', () => {
  test('listens on the first one alone', async () => {
    vi.spyOn(dns, 'lookup').mockImplementation(lookup)
    const log = await openEmbeddedLog({ location: { kind: 'memory' } })
    const gateway = await startGateway({ log, host: 'localhost' })
    const addresses = gateway.app.addresses()
    await gateway.shutdown()
    await log.close()
    expect(addresses).toMatchObject([{ address: '127.0.0.1' }])
  })
})
