/**
 * Real reverse proxies with the configurations in `recipes/`, of which only addresses and ports are
 * changed here.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { run } from '../support/gateway-process.ts'
import type { Running } from '../support/gateway-process.ts'
import { runNginx } from '../support/nginx.ts'
import { programPath, recipeWith, untilOk } from '../support/programs.ts'
import type { Demand } from '../support/programs.ts'
import { temporaryDirectory } from '../support/temporary.ts'

/** The gateways behind a proxy, by their URLs: three, as the recipes have them. */
export type Targets = readonly [string, string, string]

export type Proxy = Demand & {
  /** Starts one in front of the targets, and returns its URL. */
  start(targets: Targets, cleanUps: CleanUps): Promise<string>
}

type Change = readonly [from: string, to: string]

/** A proxy as a program: what its recipe calls its own address, and how it is started. */
type Program = {
  readonly recipe: string
  readonly listen: readonly [from: string, to: (address: string) => string]
  readonly changes?: readonly Change[]
  readonly run: (directory: string, recipe: string, cleanUps: CleanUps) => Promise<Running>
}

const nginx: Program = {
  recipe: 'nginx.conf',
  listen: ['listen 8080', (address) => `listen ${address}`],
  run: (directory, recipe, cleanUps) =>
    runNginx({ directory, recipe, connections: 8192, cleanUps }),
}

const haproxy: Program = {
  recipe: 'haproxy.cfg',
  listen: ['127.0.0.1:8080', (address) => address],
  // No more than a test may have files open.
  changes: [['maxconn 40000', 'maxconn 2000']],
  run: async (directory, recipe, cleanUps) => {
    const file = join(directory, 'haproxy.cfg')
    await writeFile(file, recipe)
    const args = ['-db', '-f', file]
    return run({ file: programPath('haproxy'), args, env: {}, group: true, cleanUps })
  },
}

const caddy: Program = {
  recipe: 'Caddyfile',
  listen: [':8080 {', (address) => `http://${address} {`],
  run: async (directory, recipe, cleanUps) => {
    const file = join(directory, 'Caddyfile')
    // Of its own making it listens for commands, at a port that another one may have.
    await writeFile(file, `{\n\tadmin off\n}\n${recipe}`)
    const args = ['run', '--config', file, '--adapter', 'caddyfile']
    const env = { XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory }
    return run({ file: programPath('caddy'), args, env, group: true, cleanUps })
  },
}

export const NGINX: Proxy = {
  package: 'nginx',
  programs: ['nginx'],
  start: (targets, cleanUps) => start(nginx, targets, cleanUps),
}

/** The same without the hash: one gateway after the other. */
export const NGINX_ROUND_ROBIN: Proxy = {
  ...NGINX,
  start: (targets, cleanUps) => start(nginx, targets, cleanUps, [['hash $uri consistent;', '']]),
}

export const PROXIES: readonly Proxy[] = [
  NGINX,
  {
    package: 'haproxy',
    programs: ['haproxy'],
    start: (targets, cleanUps) => start(haproxy, targets, cleanUps),
  },
  {
    package: 'caddy',
    programs: ['caddy'],
    start: (targets, cleanUps) => start(caddy, targets, cleanUps),
  },
]

async function start(
  { recipe, listen, changes = [], run }: Program,
  targets: Targets,
  cleanUps: CleanUps,
  more: readonly Change[] = [],
): Promise<string> {
  const directory = await temporaryDirectory(cleanUps)
  const address = `127.0.0.1:${await freePort()}`
  const text = await recipeWith(new URL(`recipes/${recipe}`, import.meta.url), [
    [listen[0], listen[1](address)],
    ...['127.0.0.1:4437', '127.0.0.1:4438', '127.0.0.1:4439'].map(
      (from, index) => [from, new URL(targets[index] ?? '').host] as const,
    ),
    ...changes,
    ...more,
  ])
  const server = await run(directory, text, cleanUps)
  await untilOk(server, `http://${address}/healthz`)
  return `http://${address}`
}
