import { createHmac, createSecretKey } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { InvariantError } from '../../../src/errors.ts'
import {
  WAKE_TOKEN_TTL_MS,
  issueWakeToken,
  readWakeToken,
} from '../../../src/subscriptions/wake-token.ts'

const NOW = 1_700_000_000_000
const SECONDS = NOW / 1000
const SECRET = Buffer.alloc(32, 7)
const KEY = { kid: 'k1', tokenSecret: createSecretKey(SECRET) }
const OTHER = { kid: 'k2', tokenSecret: createSecretKey(Buffer.alloc(32, 8)) }
const GRANT = { sub: 'sub-1', inc: 'i1', gen: 7, wid: 'w_1', use: 'callback' } as const
const CLAIMS = { ...GRANT, iat: SECONDS, exp: SECONDS + 24 * 60 * 60 }
const HEADER = { alg: 'HS256', typ: 'JWT', kid: 'k1' }

const secrets = (kid: string) => [KEY, OTHER].find((key) => key.kid === kid)?.tokenSecret
const read = (token: string, now = NOW) => readWakeToken(token, secrets, now)
const token = issueWakeToken(GRANT, { key: KEY, now: NOW })
const [header, payload, signature] = token.split('.') as [string, string, string]

const base64url = (part: unknown): string => Buffer.from(JSON.stringify(part)).toString('base64url')

/** A token that is signed as ours are, whatever it says. */
function signed(head: unknown, claims: unknown, { hash = 'sha256', secret = SECRET } = {}): string {
  const text = `${base64url(head)}.${base64url(claims)}`
  return `${text}.${createHmac(hash, secret).update(text).digest('base64url')}`
}

/** The same part with the character at a place replaced by its neighbour in base64url. */
function tampered(part: string, place: number): string {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const at = place < 0 ? part.length + place : place
  const other = digits[digits.indexOf(part[at]!) ^ 1]!
  return part.slice(0, at) + other + part.slice(at + 1)
}

describe('issueWakeToken', () => {
  test('issues a JWT that any library reads', () => {
    const parts = [header, payload].map(
      (part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as unknown,
    )
    expect(parts).toEqual([HEADER, CLAIMS])
    expect(token).toBe(signed(HEADER, CLAIMS))
  })

  test('takes nothing along that is no claim', () => {
    const more = { ...GRANT, worker: 'w' }
    expect(issueWakeToken(more, { key: KEY, now: NOW })).toBe(token)
  })

  test('issues none that could not be read', () => {
    const sub = 'x'.repeat(4000)
    expect(() => issueWakeToken({ ...GRANT, sub }, { key: KEY, now: NOW })).toThrow(InvariantError)
  })
})

describe('readWakeToken', () => {
  test.each(['callback', 'claim'] as const)('reads a token for a %s', (use) => {
    const issued = issueWakeToken({ ...GRANT, use }, { key: OTHER, now: NOW })
    expect(read(issued)).toEqual({ kind: 'valid', claims: { ...CLAIMS, use } })
  })

  test('reads names of any language', () => {
    const sub = 'größe/\u{1F30A}"'
    const issued = issueWakeToken({ ...GRANT, sub }, { key: KEY, now: NOW })
    expect(read(issued)).toEqual({ kind: 'valid', claims: { ...CLAIMS, sub } })
  })

  test.each([
    ['until it ends', WAKE_TOKEN_TTL_MS - 1, 'valid'],
    ['and no longer', WAKE_TOKEN_TTL_MS, 'expired'],
    ['on a clock that is behind the issuer’s', -60_000, 'valid'],
  ])('is valid %s', (_name, ms, kind) => {
    expect(read(token, NOW + ms).kind).toBe(kind)
  })

  test('lasts as long as it was issued for, in whole seconds', () => {
    const brief = issueWakeToken(GRANT, { key: KEY, now: NOW + 999, ttlMs: 5000 })
    expect([read(brief, NOW + 4999).kind, read(brief, NOW + 5000).kind]).toEqual([
      'valid',
      'expired',
    ])
  })

  test.each([
    ['a changed header', `${tampered(header, 5)}.${payload}.${signature}`],
    ['a changed first claim', `${header}.${tampered(payload, 3)}.${signature}`],
    ['a changed last claim', `${header}.${tampered(payload, -4)}.${signature}`],
    ['a signature that begins differently', `${header}.${payload}.${tampered(signature, 0)}`],
    [
      'a signature that stands for the same bytes',
      `${header}.${payload}.${tampered(signature, -1)}`,
    ],
    ['a shorter signature', token.slice(0, -1)],
    ['a longer signature', `${token}A`],
    ['a padded signature', `${token}=`],
    ['no signature', `${header}.${payload}.`],
    ['two parts', `${header}.${payload}`],
    ['four parts', `${token}.${signature}`],
    ['white space', ` ${token}`],
    ['a line break at its end', `${token}\n`],
    ['nothing', ''],
    ['no token at all', 'Bearer'],
    ['more than can be a token', signed(HEADER, { ...CLAIMS, sub: 'x'.repeat(4000) })],
    ['a key that is gone', signed({ ...HEADER, kid: 'k0' }, CLAIMS)],
    ['a name that every object has', signed({ ...HEADER, kid: 'constructor' }, CLAIMS)],
    ['the secret of another key', signed({ ...HEADER, kid: 'k2' }, CLAIMS)],
    ['no kid', signed({ alg: 'HS256', typ: 'JWT' }, CLAIMS)],
    ['alg none', `${base64url({ ...HEADER, alg: 'none' })}.${payload}.`],
    ['alg none, signed', signed({ ...HEADER, alg: 'none' }, CLAIMS)],
    ['alg HS512', signed({ ...HEADER, alg: 'HS512' }, CLAIMS, { hash: 'sha512' })],
    ['alg EdDSA', signed({ ...HEADER, alg: 'EdDSA' }, CLAIMS)],
    ['alg in another case', signed({ ...HEADER, alg: 'hs256' }, CLAIMS)],
    ['another type', signed({ ...HEADER, typ: 'at+jwt' }, CLAIMS)],
    ['a critical extension', signed({ ...HEADER, crit: ['exp'] }, CLAIMS)],
    ['a key in its header', signed({ ...HEADER, jwk: {} }, CLAIMS)],
    ['a header that is no object', signed('HS256', CLAIMS)],
    ['no claims', signed(HEADER, null)],
    ['no exp', signed(HEADER, { ...CLAIMS, exp: undefined })],
    ['an exp that is text', signed(HEADER, { ...CLAIMS, exp: String(CLAIMS.exp) })],
    ['a generation that is no count', signed(HEADER, { ...CLAIMS, gen: 1.5 })],
    ['a generation below zero', signed(HEADER, { ...CLAIMS, gen: -1 })],
    ['no wake', signed(HEADER, { ...CLAIMS, wid: undefined })],
    ['another use', signed(HEADER, { ...CLAIMS, use: 'admin' })],
  ])('refuses %s', (_name, given) => {
    expect(read(given)).toEqual({ kind: 'invalid' })
  })

  test('refuses a token that is not ours before it says that it is old', () => {
    const old = `${header}.${payload}.${tampered(signature, 0)}`
    expect(read(old, NOW + 2 * WAKE_TOKEN_TTL_MS)).toEqual({ kind: 'invalid' })
  })

  test('passes over claims of a later version', () => {
    const later = signed(HEADER, { ...CLAIMS, scope: 'x' })
    expect(read(later)).toEqual({ kind: 'valid', claims: CLAIMS })
  })

  test('refuses every token with one character changed', () => {
    const places = Array.from(token, (_digit, place) => place).filter(
      (place) => token[place] !== '.',
    )
    const kinds = places.map((place) => read(tampered(token, place)).kind)
    expect(new Set(kinds)).toEqual(new Set(['invalid']))
  })
})
