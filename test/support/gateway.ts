/** A gateway in this process, listening on a free port, over a log of the test's choice. */
import type { AddressInfo } from 'node:net'
import { buildGateway } from '../../src/app.ts'
import type { Gateway, GatewayObserver } from '../../src/app.ts'
import type { Clock } from '../../src/clock.ts'
import { loadConfig } from '../../src/config.ts'
import type { DurableLog } from '../../src/log/log.ts'
import type { Tracing } from '../../src/tracing/tracing.ts'

export type TestGateway = Gateway & {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string
  /** The URL of a stream. */
  readonly stream: (name: string) => string
}

export type TestGatewayOptions = {
  readonly log: DurableLog
  readonly clock?: Clock
  readonly observer?: GatewayObserver
  readonly tracing?: Tracing
  readonly env?: Readonly<Record<string, string>>
  /** `127.0.0.1` when left out. */
  readonly host?: string
}

/** Starts it; `shutdown()` ends it, and leaves the log open. */
export async function startGateway(options: TestGatewayOptions): Promise<TestGateway> {
  const { env, host = '127.0.0.1', ...dependencies } = options
  const config = loadConfig({
    LOG_LEVEL: 'silent',
    SHUTDOWN_GRACE_MS: '1000',
    // The loop is the test's too, and has other work.
    MAX_EVENT_LOOP_DELAY_MS: '60000',
    ...env,
  })
  const gateway = await buildGateway(config, dependencies)
  await gateway.app.listen({ host, port: 0 })
  const { port } = gateway.app.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  return { ...gateway, url, stream: (name) => `${url}/v1/stream/${name}` }
}
