/** A gateway behind a real nginx, right or wrong, as the doctor finds it. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { doctor } from '../../src/doctor/doctor.ts'
import { selfSigned } from '../support/certificate.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { Environment } from '../support/gateway-process.ts'
import { runNginx } from '../support/nginx.ts'
import { recipeWith, untilOk } from '../support/programs.ts'
import { temporaryDirectory } from '../support/temporary.ts'

/** Times that a test can wait for. */
const QUICK = { AUTH: 'none', SSE_HEARTBEAT_MS: '2400', LONG_POLL_TIMEOUT_MS: '3000' }

const RECIPE = new URL('../cache/recipes/nginx.conf', import.meta.url)

/** Text of the recipe, and what stands there instead. */
export type Change = readonly [from: string, to: string]

/** What stands in the server's own context, besides the recipe. */
export const inServer = (directives: string): Change => [
  'proxy_http_version 1.1;',
  `proxy_http_version 1.1;\n${directives}`,
]

/** What stands where history is answered from the cache. */
export const inHistory = (directives: string): Change => [
  'location @history {',
  `location @history {\n${directives}`,
]

/** Of the running test, unless it is a suite's. */
export async function startGatewayOf(
  env: Environment = {},
  cleanUps: CleanUps = ofTest(),
): Promise<string> {
  const DATA_DIR = await temporaryDirectory(cleanUps)
  return (await startGatewayProcess({ DATA_DIR, ...QUICK, ...env }, { cleanUps })).url
}

function ofTest(): CleanUps {
  const cleanUps = new CleanUps()
  onTestFinished(() => cleanUps.run())
  return cleanUps
}

/** Starts nginx as the recipe for a shared cache has it, but for the changes. Returns its URL. */
export async function startNginx(
  upstream: string,
  changes: readonly Change[] = [],
): Promise<string> {
  const cleanUps = ofTest()
  const directory = await temporaryDirectory(cleanUps)
  const url = `http://127.0.0.1:${await freePort()}`
  const recipe = await recipeWith(RECIPE, [
    ['127.0.0.1:4437', new URL(upstream).host],
    ['/var/cache/nginx/durable-streams', join(directory, 'cache')],
    ...changes,
    ['listen 8080', `listen ${new URL(url).host}`],
  ])
  await untilOk(await runNginx({ directory, recipe, cleanUps }), `${url}/healthz`)
  return url
}

/** The same with TLS, by `listen` of nginx: `ssl http2`, or `ssl` alone. */
export async function startNginxWithTls(upstream: string, listen: string): Promise<string> {
  const cleanUps = ofTest()
  const directory = await temporaryDirectory(cleanUps)
  const { key, cert } = await selfSigned(cleanUps)
  const [keyFile, certFile] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  await Promise.all([writeFile(keyFile, key), writeFile(certFile, cert)])
  const address = `127.0.0.1:${await freePort()}`
  const tls = `listen ${address} ${listen};
    ssl_certificate ${certFile};
    ssl_certificate_key ${keyFile};
    proxy_set_header X-Forwarded-Proto $scheme;`
  await startNginx(upstream, [['listen 8080;', `listen 8080;\n${tls}`]])
  return `https://${address}`
}

export type Finding = {
  readonly id: string
  readonly status: string
  readonly seen: string
  /** What to set, and where. */
  readonly change: readonly { readonly at: string; readonly set: string }[]
  readonly measured?: Readonly<Record<string, unknown>>
}

export type Examined = {
  readonly exitCode: number
  /** What one of the checks has found. */
  readonly finding: (id: string) => Finding
  /** The checks that ended so. */
  readonly named: (status: string) => readonly string[]
  readonly left: readonly string[]
  readonly proxies: readonly string[]
}

/** The doctor's report about a deployment, with times that a test can wait for. */
export async function examine(url: string, ...args: readonly string[]): Promise<Examined> {
  let output = ''
  const io = {
    out: (text: string) => void (output += text),
    error: (text: string) => void (output += text),
    token: undefined,
    signal: new AbortController().signal,
  }
  const times = ['--idle', '3.6', '--timeout', '5']
  const exitCode = await doctor([url, '--json', ...times, ...args], io)
  const report = JSON.parse(output) as {
    readonly checks: readonly Finding[]
    readonly left: readonly string[]
    readonly proxies: readonly string[]
  }
  const { checks, left, proxies } = report
  return {
    exitCode,
    finding: (id) => {
      const found = checks.find((check) => check.id === id)
      if (found === undefined) throw new Error(`${id} was not checked: ${output}`)
      return found
    },
    named: (status) => checks.filter((check) => check.status === status).map(({ id }) => id),
    left,
    proxies,
  }
}

/** Settings that a finding names for one product, as text. */
export function settingsFor({ change }: Finding, product: string): string {
  return change
    .filter(({ at }) => at === product)
    .map(({ set }) => set)
    .join('\n')
}
