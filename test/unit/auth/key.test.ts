import { generateKeyPairSync } from 'node:crypto'
import { exportJWK } from 'jose'
import { describe, expect, test } from 'vitest'
import { UnusableKeyError, keyFromJwk, keyFromPem, keyFromSecret } from '../../../src/auth/key.ts'
import type { PublicAlgorithm } from '../../../src/auth/key.ts'
import { parseKeySet } from '../../../src/auth/key-set.ts'
import { PUBLIC_ALGORITHMS, jwkOf, keySetOf, makeKey, pemOf } from '../../support/tokens.ts'

const rsa = makeKey('RS256')
const p256 = makeKey('ES256', 'p')
const weakRsa = generateKeyPairSync('rsa', { modulusLength: 1024 })
const pemOfPair = ({ publicKey }: { publicKey: typeof rsa.verifying }) =>
  publicKey.export({ type: 'spki', format: 'pem' }).toString()

/** Made once with `openssl req -x509 -newkey ed25519 -nodes -days 36500 -subj /CN=test`. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBNDCB56ADAgECAhR94gPR/AO4zK1AR1u2pS8dN50gVDAFBgMrZXAwDzENMAsG
A1UEAwwEdGVzdDAgFw0yNjExMjIwNTA1NDFaGA8yMTI2MTAyOTA1MDU0MVowDzEN
MAsGA1UEAwwEdGVzdDAqMAUGAytlcAMhAFXRPLwnF0nDKZBYY+iCuWnEGSda64sd
LwIrInroJ7dvo1MwUTAdBgNVHQ4EFgQUroQzZkptUSK8DiOh5R6CPM6Ni8AwHwYD
VR0jBBgwFoAUroQzZkptUSK8DiOh5R6CPM6Ni8AwDwYDVR0TAQH/BAUwAwEB/zAF
BgMrZXADQQAYXSzrl95lBnFOp8+nPYs4Lijt26qiBaF+P4JkfdYJKvnaWq/JEYhr
TssBXanSYNMZQjqdMKg30cmnfYj4uqsG
-----END CERTIFICATE-----
`

describe('keyFromSecret', () => {
  test.each([
    ['HS256', 32],
    ['HS384', 48],
    ['HS512', 64],
  ] as const)('wants for %s at least %d bytes (RFC 7518 §3.2)', async (alg, bytes) => {
    await expect(keyFromSecret(alg, Buffer.alloc(bytes, 'x'))).resolves.toMatchObject({ alg })
    await expect(keyFromSecret(alg, Buffer.alloc(bytes - 1, 'x'))).rejects.toThrow(
      new UnusableKeyError(`a secret for ${alg} has at least ${bytes} bytes`),
    )
  })

  test('names a secret always the same, by algorithm, without showing it', async () => {
    const secret = Buffer.from(
      'a secret of more than thirty-two bytes, which goes for HS384 as well',
    )
    const [id, again, other] = await Promise.all([
      keyFromSecret('HS256', secret).then((key) => key.id),
      keyFromSecret('HS256', secret).then((key) => key.id),
      keyFromSecret('HS384', secret).then((key) => key.id),
    ])
    expect(again).toBe(id)
    expect(other).not.toBe(id)
    for (const encoding of ['utf8', 'base64', 'base64url', 'hex'] as const) {
      expect(id).not.toContain(secret.toString(encoding).slice(0, 8))
    }
  })
})

describe('keyFromPem', () => {
  test.each<[string, string, PublicAlgorithm | undefined, PublicAlgorithm]>([
    ['an RSA key', pemOf(rsa), undefined, 'RS256'],
    ['an RSA key for PS512', pemOf(rsa), 'PS512', 'PS512'],
    ['a key on P-256', pemOf(p256), undefined, 'ES256'],
    ['a key on P-384', pemOf(makeKey('ES384')), undefined, 'ES384'],
    ['a key on P-521', pemOf(makeKey('ES512')), undefined, 'ES512'],
    ['an Ed25519 key', pemOf(makeKey('EdDSA')), undefined, 'EdDSA'],
    ['a certificate', CERTIFICATE, undefined, 'EdDSA'],
    ['text around the block', `# ours\n${pemOf(rsa)}\n`, undefined, 'RS256'],
    [
      'PKCS #1',
      rsa.verifying.export({ type: 'pkcs1', format: 'pem' }).toString(),
      undefined,
      'RS256',
    ],
  ])('reads %s', async (_name, pem, given, alg) => {
    expect(await keyFromPem(pem, given)).toMatchObject({ alg, kid: undefined })
  })

  test.each<[string, string, PublicAlgorithm | undefined, RegExp]>([
    [
      'a private key',
      rsa.signing.export({ type: 'pkcs8', format: 'pem' }).toString(),
      undefined,
      /a private key/,
    ],
    [
      'a private key on a curve',
      p256.signing.export({ type: 'sec1', format: 'pem' }).toString(),
      undefined,
      /a private key/,
    ],
    [
      'an encrypted private key',
      rsa.signing
        .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'p' })
        .toString(),
      undefined,
      /a private key/,
    ],
    ['two keys', pemOf(rsa) + pemOf(p256), undefined, /not one PEM block/],
    ['nothing', '', undefined, /not one PEM block/],
    ['half a key', pemOf(rsa).slice(0, 200), undefined, /no public key in PEM/],
    ['RSA for ES256', pemOf(rsa), 'ES256', /not a key for ES256/],
    ['P-256 for ES384', pemOf(p256), 'ES384', /not a key for ES384/],
    ['P-256 for RS256', pemOf(p256), 'RS256', /not a key for RS256/],
    ['RSA of 1024 bits', pemOfPair(weakRsa), undefined, /at least 2048 bits/],
    ['Ed448', pemOfPair(generateKeyPairSync('ed448')), undefined, /kind/],
    [
      'secp256k1',
      pemOfPair(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })),
      undefined,
      /kind of key is not supported/,
    ],
    [
      'RSA-PSS with parameters of its own',
      pemOfPair(generateKeyPairSync('rsa-pss', { modulusLength: 2048 })),
      undefined,
      /kind/,
    ],
  ])('refuses %s', async (_name, pem, alg, reason) => {
    const refusal = keyFromPem(pem, alg)
    await expect(refusal).rejects.toBeInstanceOf(UnusableKeyError)
    await expect(refusal).rejects.toThrow(reason)
  })
})

describe('keyFromJwk', () => {
  test.each(PUBLIC_ALGORITHMS)('reads a key for %s', async (alg) => {
    const key = await keyFromJwk(await jwkOf(makeKey(alg, 'a')))
    expect(key).toMatchObject({ alg, kid: 'a' })
  })

  test('names a key by its thumbprint, whatever else is said about it', async () => {
    // RFC 7638 §3.1.
    const n =
      '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw'
    const key = await keyFromJwk({ kty: 'RSA', n, e: 'AQAB', alg: 'RS256', kid: '2011-04-29' })
    expect(key?.id).toBe('RS256.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
    const renamed = await keyFromJwk({ kty: 'RSA', n, e: 'AQAB', kid: 'other', ext: true })
    expect(renamed?.id).toBe(key?.id)
  })

  test('has another name for the same material with another algorithm', async () => {
    const jwk = await jwkOf(rsa)
    const [rs, ps] = [await keyFromJwk(jwk), await keyFromJwk({ ...jwk, alg: 'PS256' })]
    expect([rs?.alg, ps?.alg]).toEqual(['RS256', 'PS256'])
    expect(rs?.id).not.toBe(ps?.id)
  })

  test.each([
    ['a key to encrypt with', { use: 'enc' }],
    ['a key that only wraps', { key_ops: ['wrapKey'] }],
    ['an algorithm for encryption', { alg: 'RSA-OAEP-256' }],
    ['the algorithm none', { alg: 'none' }],
    ['an algorithm of another kind', { alg: 'ML-DSA-44', kty: 'AKP' }],
    ['a kind that is not known', undefined],
  ])('ignores %s', async (_name, members) => {
    const jwk = members === undefined ? { kty: 'X' } : { ...(await jwkOf(rsa)), ...members }
    expect(await keyFromJwk(jwk)).toBeUndefined()
  })

  test.each([
    ['a private key', async () => exportJWK(rsa.signing), /private/],
    [
      'RSA of 1024 bits',
      async () => exportJWK(weakRsa.publicKey),
      /an RSA key has at least 2048 bits/,
    ],
    ['RSA for HS256', async () => ({ ...(await jwkOf(rsa)), alg: 'HS256' }), /not a secret/],
    ['a secret for RS256', () => ({ kty: 'oct', k: 'AAAA', alg: 'RS256' }), /not a key for/],
    ['a short secret', () => ({ kty: 'oct', k: 'AAAA' }), /at least 32 bytes/],
    ['P-256 for ES384', async () => ({ ...(await jwkOf(p256)), alg: 'ES384' }), /not a key for/],
    ['a point that is not there', () => ({ kty: 'EC', crv: 'P-256', x: 'AA' }), /not a key/],
    ['RSA without modulus', () => ({ kty: 'RSA', e: 'AQAB' }), /not a key for RS256/],
  ])('refuses %s', async (_name, jwk, reason) => {
    const refusal = keyFromJwk(await jwk())
    await expect(refusal).rejects.toBeInstanceOf(UnusableKeyError)
    await expect(refusal).rejects.toThrow(reason)
  })
})

describe('parseKeySet', () => {
  const rules = { withSecrets: true }

  test('takes what it can use, and says what it can not', async () => {
    const good = (JSON.parse(await keySetOf(p256)) as { keys: object[] }).keys
    const json = JSON.stringify({ keys: [{ kty: 'oct', k: 'AA' }, ...good, 5, { kty: 'X' }] })
    const { keys, problems } = await parseKeySet(json, rules)
    expect(keys.map(({ kid }) => kid)).toEqual(['p'])
    expect(problems.map(({ message }) => message)).toEqual([
      'key 1 of the set: a secret for HS256 has at least 32 bytes',
      'key 3 of the set: it is no JWK',
    ])
  })

  test('takes secrets only where they can be ones', async () => {
    const k = Buffer.alloc(32, 'x').toString('base64url')
    const json = JSON.stringify({ keys: [{ kty: 'oct', k, alg: 'HS256' }] })
    expect((await parseKeySet(json, rules)).keys).toHaveLength(1)
    expect(await parseKeySet(json, { withSecrets: false })).toEqual({ keys: [], problems: [] })
  })

  test('takes an empty set', async () => {
    expect(await parseKeySet('{"keys":[]}', rules)).toEqual({ keys: [], problems: [] })
  })

  test.each([
    ['', 'nothing'],
    ['{', 'no JSON'],
    ['[]', 'a list'],
    ['{"keys":{}}', 'no list in it'],
    [JSON.stringify({ keys: new Array(101).fill({}) }), 'too many keys'],
  ])('refuses %.20s: %s', async (json) => {
    await expect(parseKeySet(json, rules)).rejects.toBeInstanceOf(UnusableKeyError)
  })
})
