import { createPublicKey, verify } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { InvariantError, LogUnavailableError } from '../../../src/errors.ts'
import { openEmbeddedLog } from '../../../src/log/embedded-log.ts'
import type { DurableLog } from '../../../src/log/log.ts'
import { KEY_LOG, KeyRing } from '../../../src/subscriptions/key-ring.ts'
import { KEY_TIMES } from '../../../src/subscriptions/keys-state.ts'
import { webhookSignature } from '../../../src/subscriptions/signature.ts'
import {
  WAKE_TOKEN_TTL_MS,
  issueWakeToken,
  readWakeToken,
} from '../../../src/subscriptions/wake-token.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const { rotationMs, publishMs, retireMs } = KEY_TIMES
const DAY_MS = 24 * 60 * 60 * 1000
const GRANT = { sub: 's', inc: 'i', gen: 1, wid: 'w', use: 'claim' } as const

type World = {
  readonly clock: ManualClock
  readonly log: DurableLog
  readonly ring: (log?: DurableLog) => KeyRing
}

async function world(): Promise<World> {
  const clock = new ManualClock()
  const log = await openEmbeddedLog({ location: { kind: 'memory' }, now: () => clock.now() })
  let rings = 0
  const ring = (over = log): KeyRing => {
    rings += 1
    return new KeyRing({ log: over, clock, commandTimeoutMs: 1000, gatewayId: `g${rings}` })
  }
  return { clock, log, ring }
}

/** The log with its looks counted, and failing while `isDown`. */
function watched(log: DurableLog): { log: DurableLog; looks: () => number; isDown: boolean } {
  let looks = 0
  const watch = { log, looks: () => looks, isDown: false }
  watch.log = new Proxy(log, {
    get(target, property) {
      const value: unknown = target[property as keyof DurableLog]
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        if (property === 'checkTail') looks += 1
        if (watch.isDown) return Promise.reject(new LogUnavailableError())
        return value.apply(target, args) as unknown
      }
    },
  })
  return watch
}

const published = async (ring: KeyRing): Promise<string[]> =>
  (await ring.jwks()).keys.map(({ kid }) => kid)
const signer = async (ring: KeyRing): Promise<string> => (await ring.signing()).kid

describe('a key ring', () => {
  test('makes the first key when one is asked for, and publishes it', async () => {
    const { ring } = await world()
    const one = ring()
    const kid = await signer(one)
    expect(kid).toMatch(/^ds_[\w-]{43}$/)
    expect(await published(one)).toEqual([kid])
  })

  test('never answers with an empty JWKS, which would be cached', async () => {
    const { ring } = await world()
    const [kid] = await published(ring())
    expect(kid).toBe(await signer(ring()))
  })

  test('makes no key for maintenance alone', async () => {
    const { ring, log } = await world()
    await ring().maintain()
    await expect(log.checkTail(KEY_LOG)).rejects.toThrow('no stream')
  })

  test('gives the same key again, also after a restart', async () => {
    const { ring } = await world()
    const one = ring()
    const key = await one.signing()
    expect(await one.signing()).toBe(key)
    expect(await signer(ring())).toBe(key.kid)
  })

  test('signs so that its JWKS alone verifies', async () => {
    const { ring, clock } = await world()
    const one = ring()
    const body = Buffer.from('{}')
    const header = webhookSignature(await one.signing(), body, clock.now())
    const [, t, kid, signature] = /^t=(\d+),kid=([\w-]+),ed25519=([\w-]+)$/.exec(header)!
    const jwk = (await ring().jwks()).keys.find((key) => key.kid === kid)!
    const publicKey = createPublicKey({ format: 'jwk', key: { ...jwk } })
    const signed = Buffer.from(`${t}.{}`)
    expect(verify(null, signed, publicKey, Buffer.from(signature!, 'base64url'))).toBe(true)
  })

  test('refuses times by which no key would ever sign', async () => {
    const { clock, log } = await world()
    const times = { rotationMs: 10, publishMs: 10, retireMs: 10 }
    const options = { log, clock, commandTimeoutMs: 1000, gatewayId: 'g', times }
    expect(() => new KeyRing(options)).toThrow(InvariantError)
  })
})

describe('the life of a key', () => {
  test('goes from published to signing to verifying to gone', async () => {
    const { ring, clock } = await world()
    const one = ring()
    const start = clock.now()
    const at = async (ms: number): Promise<void> => {
      clock.set(start + ms)
      await one.maintain()
    }
    const seen = async () => [await signer(one), await published(one)]

    const first = await signer(one)
    await at(rotationMs - publishMs - 1)
    expect(await seen()).toEqual([first, [first]])

    await at(rotationMs - publishMs)
    const [, second = ''] = await published(one)
    expect(second).not.toBe('')
    expect(await seen()).toEqual([first, [first, second]])

    await at(rotationMs - 1)
    expect(await seen()).toEqual([first, [first, second]])
    await at(rotationMs)
    expect(await seen()).toEqual([second, [first, second]])

    await at(rotationMs + retireMs - 1)
    expect(await seen()).toEqual([second, [first, second]])
    await at(rotationMs + retireMs)
    expect(await seen()).toEqual([second, [second]])
    expect(await seen()).toEqual([await signer(ring()), await published(ring())])
  })

  test('is as long as that of the last token it signed', async () => {
    const { ring, clock } = await world()
    const one = ring()
    await one.signing()
    clock.advance(rotationMs - publishMs)
    await one.maintain()
    clock.advance(publishMs - 1000)
    const issued = clock.now()
    const token = issueWakeToken(GRANT, { key: await one.signing(), now: issued })
    clock.advance(WAKE_TOKEN_TTL_MS - 1)
    await one.maintain()
    const other = ring()
    expect(readWakeToken(token, await other.secrets(), clock.now()).kind).toBe('valid')
    clock.advance(1)
    expect(readWakeToken(token, await other.secrets(), clock.now()).kind).toBe('expired')
    clock.advance(1000)
    await one.maintain()
    expect(readWakeToken(token, await ring().secrets(), issued).kind).toBe('invalid')
  })

  test('goes on through rotation after rotation', async () => {
    const { ring, clock } = await world()
    const one = ring()
    const signers = new Set<string>()
    for (let day = 0; day < 365; day += 1) {
      signers.add(await signer(one))
      expect((await published(one)).length).toBeLessThanOrEqual(2)
      clock.advance(DAY_MS)
      await one.maintain()
    }
    // The first one, and one more every thirty days.
    expect(signers.size).toBe(13)
  })
})

describe('looks at the log', () => {
  test('are one a second for the JWKS, however many ask', async () => {
    const { ring, clock, log } = await world()
    await signer(ring())
    const watch = watched(log)
    const one = ring(watch.log)
    await published(one)
    const before = watch.looks()
    clock.advance(1000)
    await Promise.all(Array.from({ length: 100 }, () => one.jwks()))
    clock.advance(999)
    await Promise.all(Array.from({ length: 100 }, () => one.jwks()))
    expect(watch.looks() - before).toBe(1)
  })

  test('show the JWKS a key that another gateway has added', async () => {
    const { ring, clock } = await world()
    const [one, other] = [ring(), ring()]
    await published(one)
    clock.advance(rotationMs)
    await other.maintain()
    expect(await published(one)).toEqual(await published(other))
    expect(await published(one)).toHaveLength(2)
  })

  test('are not needed to sign while no key can have become active unseen', async () => {
    const { ring, clock, log } = await world()
    const watch = watched(log)
    const one = ring(watch.log)
    const kid = await signer(one)
    watch.isDown = true
    clock.advance(publishMs / 2 - 1)
    expect(await signer(one)).toBe(kid)
    await expect(one.jwks()).rejects.toThrow(LogUnavailableError)
    clock.advance(1)
    await expect(one.signing()).rejects.toThrow(LogUnavailableError)
    watch.isDown = false
    expect(await signer(one)).toBe(kid)
  })

  test('keep signer and verifier together through a rotation by a third', async () => {
    const { ring, clock } = await world()
    const [one, other, third] = [ring(), ring(), ring()]
    await one.signing()
    await other.secrets()
    clock.advance(rotationMs - publishMs)
    await Promise.all([one.signing(), other.secrets()])
    await third.maintain()
    for (let minute = 0; minute <= 20; minute += 1) {
      const [mine, theirs] = [await one.signing(), await other.signing()]
      expect(mine.kid).toBe(theirs.kid)
      const token = issueWakeToken(GRANT, { key: mine, now: clock.now() })
      expect(readWakeToken(token, await other.secrets(), clock.now()).kind).toBe('valid')
      clock.advance(60_000)
    }
    expect(await signer(one)).toBe((await published(third)).at(-1))
  })

  test('are made anew when the clock was set back', async () => {
    const { ring, clock, log } = await world()
    const watch = watched(log)
    const one = ring(watch.log)
    await published(one)
    const before = watch.looks()
    clock.set(clock.now() - DAY_MS)
    await published(one)
    expect(watch.looks() - before).toBe(1)
  })
})
