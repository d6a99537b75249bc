/** Tokens that look like some, and that no gateway may believe. */
import { createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import type { Random, Weighted } from '../random.ts'

type Claims = Readonly<Record<string, unknown>>
type Header = Readonly<Record<string, unknown>>

/** What a forger needs of the gateway's keys. */
export type Keys = {
  /** Of HS256. */
  readonly secret: string
  /** A public key of the gateway's in PEM: to a careless server it is a secret of HS256, too. */
  readonly publicPem: string
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A token by HS256. */
export function signed(secret: string, claims: unknown, header: Header = {}): string {
  const signedPart = `${part({ alg: 'HS256', typ: 'JWT', ...header })}.${part(claims)}`
  return `${signedPart}.${createHmac('sha256', secret).update(signedPart).digest('base64url')}`
}

function signedBy(key: KeyObject, alg: string, claims: Claims): string {
  const signedPart = `${part({ alg, typ: 'JWT' })}.${part(claims)}`
  const digest = alg === 'EdDSA' ? null : 'sha256'
  const options = { key, dsaEncoding: 'ieee-p1363' } as const
  return `${signedPart}.${sign(digest, Buffer.from(signedPart), options).toString('base64url')}`
}

const WRONG_SECRET = 'a secret of somebody else, and long enough to be one of HS256'

/** What would let its bearer do everything, were it signed by the right key. */
function mighty(now: number): Claims {
  return { sub: '*', scope: 'read write manage', iat: now, exp: now + 3600 }
}

/** Claims that are none. Signed by a wrong key, so nobody should look at them at all. */
function absurd(now: number): readonly unknown[] {
  const exp = now + 3600
  return [
    null,
    [],
    'text',
    7,
    {},
    { exp: 'never' },
    { exp: 1e308 },
    { exp: -1 },
    { exp, sub: { $gt: '' } },
    { exp, sub: '__proto__', scope: '__proto__' },
    { exp, sub: '../acme', scope: 'manage' },
    { exp, sub: 'a'.repeat(4000) },
    { exp, scope: Array.from({ length: 500 }, () => 'manage') },
    { exp, streams: Array.from({ length: 300 }, () => '**/**/**') },
    { exp, streams: '*'.repeat(2000) },
    { exp, streams: [[[[['a']]]]], stream_id: {} },
    JSON.parse('{"__proto__":{"scope":"manage"},"constructor":{"prototype":{}}}') as unknown,
  ]
}

/** Made once: most of them cost more than a request. */
export class HostileTokens {
  readonly #tokens: readonly string[]

  constructor({ secret, publicPem }: Keys, now: number) {
    const claims = mighty(now)
    const right = (given: Claims): string => signed(secret, { ...claims, ...given })
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    const ed25519 = generateKeyPairSync('ed25519').privateKey
    this.#tokens = [
      ...absurd(now).map((given) => signed(WRONG_SECRET, given)),
      signed(WRONG_SECRET, claims),
      signed(WRONG_SECRET, claims, { kid: '../../dev/null' }),
      signed(WRONG_SECRET, claims, { kid: "' OR 1=1 --", jku: 'http://127.0.0.1:1/jwks.json' }),
      signed(WRONG_SECRET, claims, { x5u: 'http://127.0.0.1:1/', crit: ['exp'], b64: false }),
      signed(WRONG_SECRET, claims, { jwk: { kty: 'oct', k: 'AAAA' } }),
      signed('', claims),
      // The public key taken for a secret.
      signed(publicPem, claims),
      signed(publicPem.trim(), claims),
      signedBy(rsa, 'RS256', claims),
      signedBy(ec, 'ES256', claims),
      signedBy(ed25519, 'EdDSA', claims),
      ...['none', 'None', 'NONE', 'nOnE', '', 'HS1', 'dir', 'HS256 '].flatMap((alg) => [
        `${part({ alg })}.${part(claims)}.`,
        `${part({ alg })}.${part(claims)}.${'A'.repeat(43)}`,
        `${part({ alg })}.${part(claims)}`,
      ]),
      // The right key, and yet nothing to believe.
      right({ exp: now - 3600 }),
      right({ exp: undefined }),
      right({ nbf: now + 3600, exp: now + 7200 }),
      ...['HS384', 'HS512', 'RS256', 'none'].map((alg) => signed(secret, claims, { alg })),
      cutOff(right({})),
    ]
  }

  pick(random: Random): string {
    const token = random.pick(this.#tokens)
    return random.weighted(CHANGES)(token, random)
  }
}

function cutOff(token: string): string {
  return token.slice(0, token.lastIndexOf('.') + 1)
}

type Change = (token: string, random: Random) => string

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** Changed so that no two of them are the same to a cache; none of them can become right. */
const CHANGES: Weighted<Change> = [
  [4, (token) => token],
  [
    4,
    (token, random) => {
      // The last character of a signature carries bits that mean nothing.
      const at = random.below(token.length - 2)
      return `${token.slice(0, at)}${random.text(1, BASE64URL)}${token.slice(at + 1)}`
    },
  ],
  [1, (token, random) => token.slice(0, random.below(token.length))],
  [1, (token, random) => `${token}${random.text(random.between(1, 40), `${BASE64URL}.=+/`)}`],
  [1, (token) => token.replaceAll('.', '..')],
  [1, (_token, random) => random.text(random.between(1, 200), `${BASE64URL}...`)],
  [1, (_token, random) => `${random.text(random.between(2000, 7000), BASE64URL)}.a.b`],
]
