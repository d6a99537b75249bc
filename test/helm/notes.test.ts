/** What `helm install` says to do next does what it says. */
import { execFile } from 'node:child_process'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { FULL_NAME, environmentOf, notes, render } from './chart.ts'
import type { Values } from './chart.ts'
import { areMissing } from './tools.ts'

const S2 = { s2: { basin: 'acme-streams', accessToken: 'token' } }
const EMBEDDED = { embedded: { enabled: true } }

/** The commands among the notes: they are indented. */
function commandsOf(text: string): string {
  return text
    .split('\n')
    .filter((line) => line.startsWith('     '))
    .map((line) => line.trim())
    .join('\n')
}

/** A folder with a kubectl that has the release's secret, and nothing to do otherwise. */
async function kubectl(secret: string): Promise<string> {
  const folder = await temporaryDirectory()
  const encoded = Buffer.from(secret).toString('base64')
  await writeFile(
    join(folder, 'kubectl'),
    `#!/bin/sh\ncase "$*" in *"get secret ${FULL_NAME}-auth"*) printf ${encoded} ;; esac\n`,
  )
  await chmod(join(folder, 'kubectl'), 0o755)
  return folder
}

describe.skipIf(areMissing('helm'))('the notes', () => {
  test.each<{ what: string; values: Values }>([
    { what: 'a token that is made of the generated secret', values: EMBEDDED },
    {
      what: 'a token that is made of the first of several',
      values: { ...EMBEDDED, auth: { hs256Secrets: ['a'.repeat(32), 'b'.repeat(32)] } },
    },
    { what: 'no token where none is needed', values: { ...EMBEDDED, auth: { mode: 'none' } } },
  ])('create, append and read with $what', async ({ values }) => {
    // The last of the commands ends with the connection.
    const config = { SSE_LIFETIME_MS: 1500 }
    const given = environmentOf(await render({ values: { ...values, config } }))
    const data = await temporaryDirectory()
    const local = { HOST: '127.0.0.1', PORT: '0', METRICS_PORT: '', DATA_DIR: data }
    const gateway = await startGatewayProcess({ ...given, ...local })
    const commands = commandsOf(await notes({ values }))
    const script = commands.replace('http://127.0.0.1:4437', gateway.url)
    expect(script).toContain(gateway.url)
    const path = `${await kubectl(given['JWT_HS256_SECRETS'] ?? '')}:${process.env['PATH'] ?? ''}`
    const shell = promisify(execFile)('bash', ['-c', script], { env: { PATH: path } })
    const { stdout } = await shell
    expect(stdout).toMatch(/HTTP\/1.1 201[^]*HTTP\/1.1 204[^]*data: ?hello, world/)
  })

  test.each<{ what: string; values: Values; says: string }>([
    {
      what: 'the Ingress’s host',
      values: { ...S2, ingress: { enabled: true, hosts: ['a.example'] } },
      says: 'URL=http://a.example/v1/stream',
    },
    {
      what: 'its TLS',
      values: {
        ...S2,
        ingress: { enabled: true, hosts: ['a.example'], tls: [{ hosts: ['a.example'] }] },
      },
      says: 'URL=https://a.example/v1/stream',
    },
    {
      what: 'the route’s host',
      values: {
        ...S2,
        httpRoute: { enabled: true, parentRefs: [{ name: 'a' }], hostnames: ['b.example'] },
      },
      says: 'URL=https://b.example/v1/stream',
    },
    {
      what: 'a load balancer',
      values: { ...S2, service: { type: 'LoadBalancer', port: 8080 } },
      // Not `*`: of an address Kubernetes says the `ipMode`, too.
      says: "ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}'):8080/v1/stream",
    },
    {
      what: 'who has tokens',
      values: { ...S2, config: { JWT_JWKS_URL: 'https://a.example/jwks.json' } },
      says: 'Get a token from who signs them',
    },
    {
      what: 'that memory is no disk',
      values: { s2Lite: { enabled: true, inMemory: true } },
      says: 'all is gone with its pod',
    },
    {
      what: 'what scaling needs',
      values: { ...S2, autoscaling: { enabled: true } },
      says: '/pods/*/durable_streams_connections',
    },
  ])('say $what', async ({ values, says }) => {
    expect(await notes({ values })).toContain(says)
  })
})
