import { createPrivateKey, createPublicKey, verify } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  jwkSet,
  kidOf,
  thumbprint,
  webhookSignature,
} from '../../../src/subscriptions/signature.ts'
import type { JwkSet } from '../../../src/subscriptions/signature.ts'

/** RFC 8037 A.1, A.2. */
const X = '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'
const D = 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A'
/** RFC 8037 A.3. */
const THUMBPRINT = 'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k'

const NOW = 1_700_000_000_999
const BODY = Buffer.from([0x7b, 0x22, 0xff, 0x00, 0x22, 0x7d])
const KEY = {
  kid: kidOf(X),
  privateKey: createPrivateKey({
    format: 'jwk',
    key: { kty: 'OKP', crv: 'Ed25519', x: X, d: D },
  }),
}

/** What a receiver does that has nothing of us but the header, the body and the JWKS. */
function verifies(header: string, body: Uint8Array, { keys }: JwkSet): boolean {
  const { t, kid, ed25519 } = Object.fromEntries(
    header.split(',').map((part) => part.split(/=(.*)/s).slice(0, 2)),
  ) as Record<string, string>
  const jwk = keys.find((key) => key.kid === kid)
  if (jwk === undefined) return false
  const publicKey = createPublicKey({ format: 'jwk', key: { ...jwk } as JsonWebKey })
  const signed = Buffer.concat([Buffer.from(`${t}.`), body])
  return verify(null, signed, publicKey, Buffer.from(ed25519!, 'base64url'))
}

describe('thumbprint', () => {
  test('is the one of RFC 8037 A.3', () => {
    expect(thumbprint(X)).toBe(THUMBPRINT)
  })

  test('names the key', () => {
    expect(kidOf(X)).toBe(`ds_${THUMBPRINT}`)
  })
})

describe('jwkSet', () => {
  test('shows what PROTOCOL §6.5 lists, and nothing else that a key holds', () => {
    const material = { kid: KEY.kid, x: X, d: D, secret: 'never', addedAt: 1 }
    expect(jwkSet([material])).toEqual({
      keys: [{ kty: 'OKP', crv: 'Ed25519', kid: KEY.kid, use: 'sig', alg: 'EdDSA', x: X }],
    })
  })

  test('keeps the order', () => {
    const keys = ['a', 'b', 'c'].map((kid) => ({ kid, x: X }))
    expect(jwkSet(keys).keys.map(({ kid }) => kid)).toEqual(['a', 'b', 'c'])
  })
})

describe('webhookSignature', () => {
  const jwks = jwkSet([{ kid: KEY.kid, x: X }])
  const header = webhookSignature(KEY, BODY, NOW)

  test('has the form of PROTOCOL §7.1, in whole seconds', () => {
    // 64 bytes are 86 digits without padding.
    expect(header).toMatch(/^t=1700000000,kid=ds_[\w-]{43},ed25519=[\w-]{86}$/)
  })

  test('is verified with the JWKS alone, over the raw bytes', () => {
    expect(verifies(header, BODY, jwks)).toBe(true)
  })

  test('signs an empty body', () => {
    const empty = new Uint8Array(0)
    expect(verifies(webhookSignature(KEY, empty, NOW), empty, jwks)).toBe(true)
  })

  test.each([
    ['another time', header.replace('t=1700000000', 't=1700000001'), BODY, jwks],
    ['another body', header, Buffer.from('{}'), jwks],
    ['a byte of the timestamp in the body', header.replace('0,kid', ',kid'), BODY, jwks],
    [
      'another signature',
      webhookSignature(KEY, BODY, NOW + 1000).replace('001,', '000,'),
      BODY,
      jwks,
    ],
    ['a key that is not in the set', header, BODY, { keys: [] }],
  ])('is not verified with %s', (_name, given, body, keys) => {
    expect(verifies(given, body, keys)).toBe(false)
  })
})
