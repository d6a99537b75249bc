import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { KeysUnavailableError } from '../../../src/errors.ts'
import { COOLDOWN_MS } from '../../../src/auth/key-watch.ts'
import { startJwksServer } from '../../support/jwks-server.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import {
  PUBLIC_ALGORITHMS,
  SECRET_ALGORITHMS,
  forge,
  makeKey,
  pemOf,
  secretKey,
  sign,
  withClaims,
  withHeader,
  withOtherSignature,
} from '../../support/tokens.ts'
import type { TestKey } from '../../support/tokens.ts'
import { RULES, outcome, world } from './world.ts'

const keys = new Map([...SECRET_ALGORITHMS, ...PUBLIC_ALGORITHMS].map((alg) => [alg, makeKey(alg)]))
const [hmac, rsa, ec, ed] = [
  keys.get('HS256')!,
  keys.get('RS256')!,
  keys.get('ES256')!,
  keys.get('EdDSA')!,
]
/** One world for all that changes nothing in it. */
const everyKey = { secrets: [...keys.values()], published: [rsa, ec, ed] }
const claims = (exp: number) => ({ sub: 'acme', scope: 'write', exp })

describe('an access token', () => {
  test.each([...keys])('of %s is verified, and only by its own key', async (alg, key) => {
    const isSecret = alg.startsWith('HS')
    const { auth, inS } = await world(isSecret ? { secrets: [key] } : { published: [key] })
    const token = await sign(key, claims(inS(60)))
    expect(await auth.verify(token)).toMatchObject({ project: 'acme', scope: 'write' })
    const other = makeKey(alg)
    expect(await outcome(async () => auth.verify(await sign(other, claims(inS(60)))))).toBe(
      'invalid_token',
    )
    expect(await outcome(() => auth.verify(withOtherSignature(token)))).toBe('invalid_token')
    expect(
      await outcome(() => auth.verify(withClaims(token, { ...claims(inS(60)), sub: '*' }))),
    ).toBe('invalid_token')
  })

  test('that is known is verified at once', async () => {
    const { auth, inS } = await world(everyKey)
    const token = await sign(ed, claims(inS(60)))
    const first = auth.verify(token)
    expect(first).toBeInstanceOf(Promise)
    const grant = await first
    expect(auth.verify(token)).toBe(grant)
  })

  test.each<[string, (now: number) => object, string]>([
    ['without exp', () => ({ exp: undefined }), 'invalid_token'],
    ['with exp as text', (now) => ({ exp: String(now + 60) }), 'invalid_token'],
    ['that ended within the tolerance', (now) => ({ exp: now - 29 }), 'ok'],
    ['that ended a tolerance ago', (now) => ({ exp: now - 30 }), 'token_expired'],
    [
      'that ended a fraction of a second longer ago',
      (now) => ({ exp: now - 30.1 }),
      'token_expired',
    ],
    ['that ended long ago', () => ({ exp: 1 }), 'token_expired'],
    ['that ended before time began', () => ({ exp: -1 }), 'token_expired'],
    ['that begins within the tolerance', (now) => ({ nbf: now + 30 }), 'ok'],
    ['that begins after it', (now) => ({ nbf: now + 31 }), 'invalid_token'],
    ['with nbf as text', (now) => ({ nbf: String(now) }), 'invalid_token'],
    ['that was issued in the future', (now) => ({ iat: now + 1000 }), 'ok'],
    ['with malformed claims of ours', () => ({ streams: 5 }), 'invalid_token'],
  ])('%s', async (_name, given, expected) => {
    const { auth, inS } = await world(everyKey)
    const token = await sign(ec, { ...claims(inS(60)), ...given(inS(0)) })
    expect(await outcome(() => auth.verify(token))).toBe(expected)
  })

  test.each<[string, Partial<typeof RULES> | object, object, string]>([
    ['of the issuer', { issuer: 'https://i.example' }, { iss: 'https://i.example' }, 'ok'],
    ['of another', { issuer: 'https://i.example' }, { iss: 'https://i.example/' }, 'invalid_token'],
    ['of nobody', { issuer: 'https://i.example' }, {}, 'invalid_token'],
    ['of two', { issuer: 'i' }, { iss: ['i', 'j'] }, 'invalid_token'],
    ['of anybody, if any goes', {}, { iss: 'j' }, 'ok'],
    ['for us', { audience: 'us' }, { aud: 'us' }, 'ok'],
    ['for us and others', { audience: 'us' }, { aud: ['them', 'us'] }, 'ok'],
    ['for others', { audience: 'us' }, { aud: 'them' }, 'invalid_token'],
    ['for nobody', { audience: 'us' }, {}, 'invalid_token'],
    ['for anybody, if all go', {}, { aud: 'them' }, 'ok'],
  ])('%s', async (_name, rules, given, expected) => {
    const { auth, inS } = await world({ ...everyKey, rules: { ...RULES, ...rules } })
    const token = await sign(hmac, { ...claims(inS(60)), ...given })
    expect(await outcome(() => auth.verify(token))).toBe(expected)
  })

  test('ends when the tolerance is over, known or not', async () => {
    const { auth, clock, inS } = await world(everyKey)
    const exp = inS(60)
    const token = await sign(hmac, claims(exp))
    expect(await auth.verify(token)).toMatchObject({ expiresAt: (exp + 30) * 1000 })
    clock.advance(90_000 - 1)
    expect(auth.verify(token)).toMatchObject({ project: 'acme' })
    clock.advance(1)
    expect(await outcome(() => auth.verify(token))).toBe('token_expired')
    expect(await outcome(() => auth.verify(token))).toBe('token_expired')
  })

  const now = new ManualClock().now() / 1000
  const good = { ...claims(now + 60) }
  const header = { alg: 'HS256', typ: 'JWT' }
  const text = (key: TestKey) => key.verifying.export()
  test.each<[string, () => string | Promise<string>]>([
    ['of no algorithm, unsigned', () => forge({ alg: 'none' }, good).replace(/[^.]+$/, '')],
    ['of no algorithm, signed', () => forge({ alg: 'none' }, good, text(hmac))],
    ['of no algorithm, in capitals', () => forge({ alg: 'NONE' }, good)],
    ['of an HMAC by the PEM of a public key', () => forge(header, good, pemOf(rsa))],
    ['of an HMAC by that PEM in one line', () => forge(header, good, pemOf(rsa).trim())],
    [
      'of an HMAC by the DER of a public key',
      () => forge(header, good, rsa.verifying.export({ type: 'spki', format: 'der' })),
    ],
    ['of an HMAC by an empty secret', () => forge(header, good, '')],
    [
      'whose algorithm is switched to HS256',
      async () => withHeader(await sign(rsa, good), { alg: 'HS256' }),
    ],
    [
      'whose algorithm is switched to HS512',
      async () => withHeader(await sign(hmac, good), { alg: 'HS512' }),
    ],
    [
      'whose algorithm is switched to PS256',
      async () => withHeader(await sign(rsa, good), { alg: 'PS256' }),
    ],
    [
      'that brings its own key',
      async () => {
        const own = makeKey('ES256')
        return sign(own, good, { jwk: own.verifying.export({ format: 'jwk' }) })
      },
    ],
    [
      'that says where its key is',
      () => sign(makeKey('ES256'), good, { jku: 'http://x/', x5u: 'y' }),
    ],
    ['whose kid is a path', () => forge({ ...header, kid: '../../dev/null' }, good, '')],
    ['whose kid is an object', () => forge({ ...header, kid: {} }, good, '')],
    [
      'that wants what we do not know',
      () => forge({ ...header, crit: ['x'], x: 1 }, good, text(hmac)),
    ],
    ['that is not base64', () => forge({ ...header, crit: ['b64'], b64: false }, good, text(hmac))],
    [
      'of claims that are a list',
      () => {
        const token = forge(header, [] as never, text(hmac))
        return token
      },
    ],
    ['of one part', () => 'abc'],
    ['of no part', () => ''],
    ['of two parts', () => 'e30.e30'],
    ['of five parts, which is encrypted', () => 'e30.e30.e30.e30.e30'],
    ['as JSON', () => '{"payload":"e30","signatures":[]}'],
    ['of empty parts', () => '..'],
    ['whose header is no JSON', () => 'AAAA.e30.AAAA'],
    ['whose header is a list', () => `${Buffer.from('[]').toString('base64url')}.e30.AAAA`],
    ['whose header is null', () => `${Buffer.from('null').toString('base64url')}.e30.AAAA`],
    ['in plain base64', async () => `${await sign(hmac, good)}=`],
    ['with space after it', async () => `${await sign(hmac, good)} `],
    ['with the same signature in another spelling', async () => respelled(await sign(hmac, good))],
    ['of more than 8 KiB', () => sign(hmac, { ...good, x: 'x'.repeat(6200) })],
    ['that is a ticket by its type', () => sign(hmac, good, { typ: 'durable-streams-ticket' })],
  ])('%s is refused', async (_name, make) => {
    const { auth } = await world(everyKey)
    const token = await make()
    expect(await outcome(() => auth.verify(token))).toBe('invalid_token')
  })

  test('of just less than 8 KiB is read', async () => {
    const { auth } = await world(everyKey)
    const token = await sign(hmac, { ...good, x: 'x'.repeat(5800) })
    expect(await outcome(() => auth.verify(token))).toBe('ok')
  })

  test('is refused whatever is put in its place', async () => {
    const { auth } = await world(everyKey)
    const part = fc.oneof(
      fc.base64String().map((value) => value.replace(/[+/=]/g, '')),
      fc.json().map((value) => Buffer.from(value).toString('base64url')),
      fc
        .record({
          alg: fc.constantFrom('none', 'HS256', 'RS256', 'ES256', 'EdDSA', 5, null),
          kid: fc.oneof(fc.string(), fc.constant(undefined)),
          crit: fc.oneof(fc.constant(undefined), fc.json()),
        })
        .map((value) => Buffer.from(JSON.stringify(value)).toString('base64url')),
    )
    const token = fc.oneof(
      fc.string(),
      fc.tuple(part, part, part).map((parts) => parts.join('.')),
    )
    await fc.assert(
      fc.asyncProperty(token, async (value) => {
        expect(await outcome(() => auth.verify(value))).toBe('invalid_token')
      }),
      { numRuns: 500 },
    )
  })

  test('is refused with any bit of its signature turned over', async () => {
    const { auth } = await world(everyKey)
    const token = await sign(hmac, good)
    for (let bit = 0; bit < 256; bit += 1) {
      expect(await outcome(() => auth.verify(withOtherSignature(token, bit)))).toBe('invalid_token')
    }
  })

  test('that many send at once is verified once, and each learns the same', async () => {
    const { auth } = await world(everyKey)
    const token = await sign(ed, good)
    const first = auth.verify(token)
    expect(auth.verify(token)).toBe(first)
    const bad = withOtherSignature(token)
    const outcomes = await Promise.all([1, 2, 3].map(() => outcome(() => auth.verify(bad))))
    expect(outcomes).toEqual(['invalid_token', 'invalid_token', 'invalid_token'])
  })

  test('does not say why before its signature is known to be right', async () => {
    const { auth, inS } = await world({ ...everyKey, rules: { ...RULES, audience: 'us' } })
    const token = withOtherSignature(await sign(ec, { ...claims(inS(-1000)), aud: 'them' }))
    await expect((async () => auth.verify(token))()).rejects.toThrow('the token is not valid')
  })
})

/** The same bytes: of the last character of an HS256 signature two bits are nobody's. */
function respelled(token: string): string {
  const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = ALPHABET.indexOf(token.at(-1) ?? '')
  return token.slice(0, -1) + (ALPHABET[last ^ 1] ?? '')
}

describe('rotation', () => {
  test('tokens of all secrets are accepted', async () => {
    const [old, next] = [makeKey('HS256'), makeKey('HS256')]
    const { auth, inS } = await world({ secrets: [next, old] })
    for (const key of [old, next]) {
      expect(await outcome(async () => auth.verify(await sign(key, claims(inS(60)))))).toBe('ok')
    }
  })

  test('a secret that is given twice is one key', async () => {
    const { auth, inS } = await world({ secrets: [hmac, hmac] })
    expect(await outcome(async () => auth.verify(await sign(hmac, claims(inS(60)))))).toBe('ok')
  })

  test('a token without kid may be of any key, and one with kid is of that one', async () => {
    const [a, b] = [makeKey('ES256', 'a'), makeKey('ES256', 'b')]
    const { auth, inS } = await world({ published: [a, b] })
    const said = async (key: TestKey, kid: string | undefined) =>
      outcome(async () => auth.verify(await sign({ ...key, kid }, claims(inS(60)))))
    expect([await said(b, undefined), await said(b, 'b'), await said(b, 'a')]).toEqual([
      'ok',
      'ok',
      'invalid_token',
    ])
  })

  test('a key that leaves takes its tokens with it, the known ones too', async () => {
    const [a, b] = [makeKey('ES256', 'a'), makeKey('ES256', 'b')]
    const { auth, inS, publish } = await world({ published: [a, b] })
    const [ofA, ofB] = [await sign(a, claims(inS(6000))), await sign(b, claims(inS(6000)))]
    const [grant] = await Promise.all([auth.verify(ofA), auth.verify(ofB)])
    const gone: string[] = []
    auth.onKeyWithdrawn((keyId) => gone.push(keyId))
    expect(auth.isCurrent(grant.keyId)).toBe(true)
    await publish(b)
    expect(gone).toEqual([grant.keyId])
    expect(auth.isCurrent(grant.keyId)).toBe(false)
    expect(await outcome(() => auth.verify(ofA))).toBe('invalid_token')
    expect(auth.verify(ofB)).not.toBeInstanceOf(Promise)
    await publish(a, b)
    expect(await outcome(() => auth.verify(ofA))).toBe('ok')
  })
})

describe('an issuer', () => {
  const token = async (key: TestKey, exp = new ManualClock().now() / 1000 + 6000) =>
    sign(key, claims(exp))

  test('that has a new key is asked when a token names it', async () => {
    const [a, b] = [makeKey('ES256', 'a'), makeKey('EdDSA', 'b')]
    const server = await startJwksServer(a)
    const { auth, clock } = await world({ jwksUrl: server.url })
    expect(await outcome(async () => auth.verify(await token(a)))).toBe('ok')
    await server.publish(a, b)
    clock.stall(COOLDOWN_MS)
    expect(await outcome(async () => auth.verify(await token(b)))).toBe('ok')
    expect(server.requests()).toBe(2)
  })

  test('is asked once in a cool-down by a storm of names that nobody has', async () => {
    const a = makeKey('ES256', 'a')
    const server = await startJwksServer(a)
    const { auth, clock } = await world({ jwksUrl: server.url })
    const storm = await Promise.all(
      Array.from({ length: 200 }, (_, index) => token({ ...a, kid: `k${index}` })),
    )
    for (const asked of [1, 2, 3]) {
      const outcomes = await Promise.all(storm.map((one) => outcome(() => auth.verify(one))))
      expect([new Set(outcomes), server.requests()]).toEqual([new Set(['invalid_token']), asked])
      clock.stall(COOLDOWN_MS)
    }
  })

  test('is not asked for what it can not have', async () => {
    const a = makeKey('ES256', 'a')
    const server = await startJwksServer(a)
    const { auth, clock } = await world({ jwksUrl: server.url })
    clock.stall(COOLDOWN_MS)
    const good = await token(a)
    const wrong = [
      withOtherSignature(good),
      await token(makeKey('HS256', 'z')),
      withHeader(good, { alg: 'none', kid: 'z' }),
      withHeader(good, { alg: 'XS256', kid: 'z' }),
    ]
    for (const one of wrong) expect(await outcome(() => auth.verify(one))).toBe('invalid_token')
    expect(server.requests()).toBe(1)
  })

  test('may be out for as long as it likes', async () => {
    const a = makeKey('ES256', 'a')
    const server = await startJwksServer(a)
    const { auth, clock } = await world({ jwksUrl: server.url })
    server.answer((request) => request.socket.destroy())
    const later = new ManualClock().now() / 1000 + 10 * 24 * 3600
    for (const _day of [1, 2, 3]) {
      clock.stall(24 * 3600_000)
      expect(await outcome(async () => auth.verify(await token(a, later)))).toBe('ok')
      const unknown = await token({ ...a, kid: 'new' }, later)
      expect(await outcome(() => auth.verify(unknown))).toBe('invalid_token')
    }
  })

  test('that was never reached leaves open what a token is worth', async () => {
    const a = makeKey('ES256', 'a')
    const server = await startJwksServer(a)
    server.answer((request) => request.socket.destroy())
    const { auth, clock } = await world({ secrets: [hmac], jwksUrl: server.url })
    await expect((async () => auth.verify(await token(a)))()).rejects.toBeInstanceOf(
      KeysUnavailableError,
    )
    expect(await outcome(async () => auth.verify(await token(hmac)))).toBe('ok')
    expect(
      await outcome(async () => auth.verify(await token(secretKey('HS256', 'x'.repeat(32))))),
    ).toBe('invalid_token')
    await server.publish(a)
    clock.stall(COOLDOWN_MS)
    expect(await outcome(async () => auth.verify(await token(a)))).toBe('ok')
  })
})
