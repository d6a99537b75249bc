/** An authenticator with keys and time in a test's hands. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Authenticator } from '../../../src/auth/authenticator.ts'
import { openAuthenticator } from '../../../src/auth/open.ts'
import type { OpenOptions } from '../../../src/auth/open.ts'
import { AuthError } from '../../../src/errors.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { temporaryDirectory } from '../../support/temporary.ts'
import { keySetOf, textOf } from '../../support/tokens.ts'
import type { TestKey } from '../../support/tokens.ts'

export const RULES = {
  issuer: undefined,
  audience: undefined,
  toleranceS: 30,
  projectClaim: 'sub',
} as const

export type WorldOptions = Partial<Omit<OpenOptions, 'clock' | 'keys'>> & {
  readonly clock?: ManualClock
  /** From the environment. */
  readonly secrets?: readonly TestKey[]
  /** In a JWK set on disk. */
  readonly published?: readonly TestKey[]
  readonly jwksUrl?: string
}

export type World = {
  readonly auth: Authenticator
  readonly clock: ManualClock
  /** Seconds since 1970, from now. */
  readonly inS: (seconds: number) => number
  /** Changes the JWK set on disk, and has it read. */
  readonly publish: (...keys: readonly TestKey[]) => Promise<void>
}

export async function world(options: WorldOptions = {}): Promise<World> {
  const { clock = new ManualClock(), secrets = [], published = [], jwksUrl } = options
  const jwksFile = join(await temporaryDirectory(), 'set.json')
  await writeFile(jwksFile, await keySetOf(...published))
  const auth = await openAuthenticator({
    rules: RULES,
    gatewaySecrets: [],
    ticketTtlMs: 30_000,
    onProblem: () => undefined,
    ...options,
    clock,
    keys: {
      secrets: secrets.flatMap((key) =>
        key.alg === 'HS256' || key.alg === 'HS384' || key.alg === 'HS512'
          ? { alg: key.alg, secret: textOf(key) }
          : [],
      ),
      pemFiles: [],
      jwksFile,
      jwksUrl,
    },
  })
  onTestFinished(() => auth.close())
  const inS = (seconds: number): number => clock.now() / 1000 + seconds
  const publish = async (...keys: readonly TestKey[]): Promise<void> => {
    await writeFile(jwksFile, await keySetOf(...keys))
    await clock.fireNext()
    // The next look is armed when this one is over.
    await clock.untilTimers(1)
  }
  return { auth, clock, inS, publish }
}

/** What becomes of a credential: `ok`, or the code of the refusal. */
export async function outcome(verify: () => unknown): Promise<string> {
  try {
    await verify()
    return 'ok'
  } catch (error) {
    if (error instanceof AuthError) return error.code
    throw error
  }
}
