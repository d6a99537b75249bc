/**
 * Access tokens verified a second by one core: those that come again, as a reader's do, and those
 * that nobody has sent before.
 *
 * `npm run bench:auth`; `README.md` says how to read it. Linux only.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Authenticator } from '../src/auth/authenticator.ts'
import { openAuthenticator } from '../src/auth/open.ts'
import { systemClock } from '../src/clock.ts'
import { makeKey, pemOf, sign, textOf } from '../test/support/tokens.ts'
import type { TestKey } from '../test/support/tokens.ts'
import { median, number } from './support/figures.ts'
import { pinThisProcess } from './support/processes.ts'

const ROUNDS = number('ROUNDS', 5)
const SECONDS = number('SECONDS', 1)
/** As many different tokens come again and again: readers of as many users. */
const USERS = number('USERS', 1000)
const FRESH = number('FRESH', 2000)
/** What verifies while another is on its way. */
const CONCURRENT = 50

pinThisProcess()
const directory = await mkdtemp(join(tmpdir(), 'ds-bench-'))

async function open(key: TestKey): Promise<Authenticator> {
  const path = join(directory, 'key.pem')
  const isSecret = key.alg === 'HS256'
  if (!isSecret) await writeFile(path, pemOf(key))
  return openAuthenticator({
    keys: {
      secrets: isSecret ? [{ alg: 'HS256', secret: textOf(key) }] : [],
      pemFiles: isSecret ? [] : [{ path, alg: undefined }],
      jwksFile: undefined,
      jwksUrl: undefined,
    },
    rules: { issuer: 'https://i.example', audience: 'us', toleranceS: 30, projectClaim: 'sub' },
    gatewaySecrets: [],
    ticketTtlMs: 30_000,
    clock: systemClock,
    onProblem: (_what, error) => {
      throw error
    },
  })
}

function tokens(key: TestKey, count: number): Promise<string[]> {
  const exp = Math.floor(Date.now() / 1000) + 3600
  const usual = { iss: 'https://i.example', aud: 'us', scope: 'read', exp }
  return Promise.all(
    Array.from({ length: count }, (_, index) =>
      sign(key, { ...usual, sub: `project-${index}`, streams: [`project-${index}/**`] }),
    ),
  )
}

/** By CPU time of all threads, whatever else has a share of the core. */
function startCount(): (count: number) => number {
  const begin = process.cpuUsage()
  return (count) => {
    const { user, system } = process.cpuUsage(begin)
    return (count / (user + system)) * 1e6
  }
}

/** Each comes as new text, as from a request, and not as the one that is remembered. */
function repeated(authenticator: Authenticator, known: readonly string[]): number {
  const bytes = known.map((token) => Buffer.from(token))
  const end = performance.now() + SECONDS * 1000
  const perCpuSecond = startCount()
  let count = 0
  while (performance.now() < end) {
    for (const token of bytes) {
      if (authenticator.verify(token.toString('latin1')) instanceof Promise)
        throw new Error('not known')
    }
    count += bytes.length
  }
  return perCpuSecond(count)
}

async function fresh(authenticator: Authenticator, unknown: readonly string[]): Promise<number> {
  const perCpuSecond = startCount()
  const waiting = [...unknown]
  const work = async (): Promise<void> => {
    for (let token = waiting.pop(); token !== undefined; token = waiting.pop()) {
      await authenticator.verify(token)
    }
  }
  await Promise.all(Array.from({ length: CONCURRENT }, work))
  return perCpuSecond(unknown.length)
}

try {
  const rows = []
  for (const alg of ['HS256', 'EdDSA', 'ES256', 'RS256'] as const) {
    const key = makeKey(alg)
    const authenticator = await open(key)
    const known = await tokens(key, USERS)
    for (const token of known) await authenticator.verify(token)
    const rounds = { repeated: [] as number[], fresh: [] as number[] }
    for (let round = 0; round < ROUNDS; round += 1) {
      rounds.repeated.push(repeated(authenticator, known))
      const another = await open(key)
      rounds.fresh.push(await fresh(another, await tokens(key, FRESH)))
      await another.close()
    }
    await authenticator.close()
    rows.push({
      algorithm: alg,
      'repeated/s': Math.round(median(rounds.repeated)),
      'fresh/s': Math.round(median(rounds.fresh)),
    })
  }
  console.log(`Node ${process.version}, ${cpus()[0]?.model ?? ''}, medians of ${ROUNDS} rounds`)
  console.table(rows)
} finally {
  await rm(directory, { recursive: true })
}
