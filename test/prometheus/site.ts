/**
 * Three gateways that make everything that can be measured: one that asks for tokens, one that is
 * open and has subscribers, one that is full.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { Environment, GatewayProcess } from '../support/gateway-process.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { keySetOf, makeKey, sign } from '../support/tokens.ts'
import type { TestKey } from '../support/tokens.ts'
import { WebhookReceiver } from '../support/webhook-receiver.ts'
import type { Target } from './prometheus.ts'

export type MeasuredGateway = GatewayProcess & {
  /** Where its metrics are: `host:port`. */
  readonly metrics: string
}

export type Site = {
  readonly guarded: MeasuredGateway
  readonly open: MeasuredGateway
  readonly full: MeasuredGateway
  readonly receiver: WebhookReceiver
  /** The header with a token that `guarded` takes. */
  readonly bearer: (claims: Claims) => Promise<Bearer>
  /** The header with a token of a key that the issuer does not know. */
  readonly stranger: (claims: Claims) => Promise<Bearer>
  /** As a Prometheus finds them: `open` by Kubernetes, the others by a list. */
  readonly targets: readonly Target[]
}

type Claims = Readonly<Record<string, unknown>>

export type Bearer = { readonly authorization: string }

/** Nothing waits longer than a test can. */
const HASTY: Environment = {
  HUB_IDLE_MS: '500',
  LONG_POLL_TIMEOUT_MS: '1000',
  SSE_LIFETIME_MS: '2000',
  SHUTDOWN_GRACE_MS: '1000',
}

/** Connections that `full` has room for. */
export const ROOM = 2

export async function startSite(cleanUps: CleanUps): Promise<Site> {
  const key = makeKey('ES256', 'the-key')
  const issuer = await startIssuer(await keySetOf(key), cleanUps)
  const receiver = await WebhookReceiver.start()
  cleanUps.add(() => receiver.close())
  const guarded = await startMeasured({ AUTH: 'jwt', JWT_JWKS_URL: issuer, ...SECRETS }, cleanUps)
  const open = await startMeasured({ AUTH: 'none', ALLOW_LOCAL_WEBHOOKS: 'true' }, cleanUps)
  const full = await startMeasured({ AUTH: 'none', MAX_CONNECTIONS: `${ROOM}` }, cleanUps)
  const bearer = bearerOf(key)
  const stranger = bearerOf(makeKey('ES256', 'another-key'))
  const targets = [
    { job: 'guarded', address: guarded.metrics },
    { job: 'full', address: full.metrics },
    { job: 'kubernetes', address: open.metrics, labels: { namespace: 'streams', pod: 'open-0' } },
  ]
  return { guarded, open, full, receiver, bearer, stranger, targets }
}

function bearerOf(key: TestKey): (claims: Claims) => Promise<Bearer> {
  return async (claims) => {
    const exp = Math.floor(Date.now() / 1000) + 3600
    return { authorization: `Bearer ${await sign(key, { exp, scope: 'manage', ...claims })}` }
  }
}

const SECRETS: Environment = { GATEWAY_SECRETS: 'a-secret-of-thirty-two-bytes-or-more' }

async function startMeasured(env: Environment, cleanUps: CleanUps): Promise<MeasuredGateway> {
  const DATA_DIR = await temporaryDirectory(cleanUps)
  const METRICS_PORT = `${await freePort()}`
  const gateway = await startGatewayProcess(
    { DATA_DIR, METRICS_PORT, ...HASTY, ...env },
    { cleanUps },
  )
  return { ...gateway, metrics: `127.0.0.1:${METRICS_PORT}` }
}

async function startIssuer(keySet: string, cleanUps: CleanUps): Promise<string> {
  const server = createServer((_request, response) => response.end(keySet))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanUps.add(() => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`
}
