import { describe, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.ts'

const SECRET = 'sesame sesame sesame sesame'.replaceAll(' ', '-').padEnd(32, 'x')
const KEYS = { JWT_HS256_SECRETS: SECRET }

function problemsOf(environment: Record<string, string>): string[] {
  try {
    loadConfig(environment)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.message.split('\n').slice(1)
  }
}

describe('who may do what', () => {
  test.each<[string, Record<string, string>, 'everybody' | 'by token']>([
    ['the embedded log on loopback', {}, 'everybody'],
    ['AUTH=none', { AUTH: 'none', HOST: '0.0.0.0' }, 'everybody'],
    ['a secret', KEYS, 'by token'],
    ['a secret on an open address', { ...KEYS, HOST: '0.0.0.0' }, 'by token'],
    ['a secret with S2', { ...KEYS, S2_ENDPOINT: 'http://127.0.0.1:1' }, 'by token'],
    ['a secret and AUTH=jwt', { ...KEYS, AUTH: 'jwt' }, 'by token'],
    ['PEM files', { JWT_PEM_FILES: 'a.pem' }, 'by token'],
    ['a JWK set on disk', { JWT_JWKS_FILE: 'a.json' }, 'by token'],
    ['an issuer', { JWT_JWKS_URL: 'https://i.example/jwks' }, 'by token'],
  ])('%s', (_name, environment, expected) => {
    const { auth } = loadConfig(environment)
    expect(auth === undefined ? 'everybody' : 'by token').toBe(expected)
  })

  test('all that can be said about tokens', () => {
    const { auth } = loadConfig({
      JWT_HS256_SECRETS: `${'a'.repeat(32)}, ${'b'.repeat(32)}\n${'c'.repeat(33)}`,
      JWT_HS384_SECRETS: 'd'.repeat(48),
      JWT_HS512_SECRETS: 'e'.repeat(64),
      JWT_PEM_FILES: 'a.pem, PS256:/etc/keys/b.pem,C:/keys/c.pem',
      JWT_JWKS_FILE: '/etc/keys/set.json',
      JWT_JWKS_URL: 'https://i.example/jwks?tenant=1',
      JWT_ISSUER: 'https://i.example',
      JWT_AUDIENCE: 'streams',
      JWT_CLOCK_TOLERANCE_S: '0',
      AUTH_PROJECT_CLAIM: 'none',
      GATEWAY_SECRETS: 'g'.repeat(32),
      TICKET_TTL_MS: '5000',
    })
    expect(auth).toEqual({
      keys: {
        secrets: [
          { alg: 'HS256', secret: 'a'.repeat(32) },
          { alg: 'HS256', secret: 'b'.repeat(32) },
          { alg: 'HS256', secret: 'c'.repeat(33) },
          { alg: 'HS384', secret: 'd'.repeat(48) },
          { alg: 'HS512', secret: 'e'.repeat(64) },
        ],
        pemFiles: [
          { path: 'a.pem', alg: undefined },
          { path: '/etc/keys/b.pem', alg: 'PS256' },
          { path: 'C:/keys/c.pem', alg: undefined },
        ],
        jwksFile: '/etc/keys/set.json',
        jwksUrl: 'https://i.example/jwks?tenant=1',
      },
      rules: {
        issuer: 'https://i.example',
        audience: 'streams',
        toleranceS: 0,
        projectClaim: undefined,
      },
      gatewaySecrets: ['g'.repeat(32)],
      ticketTtlMs: 5000,
    })
  })

  test('the usual', () => {
    expect(loadConfig(KEYS)).toMatchObject({
      auth: { rules: { toleranceS: 30, projectClaim: 'sub' }, gatewaySecrets: [] },
      AUTH_WRITE_MAY_CREATE: 'false',
      PUBLIC_STREAMS: [],
      READER_KEY_EPOCH: 0,
    })
  })

  test('public streams are names and patterns', () => {
    const { PUBLIC_STREAMS } = loadConfig({
      ...KEYS,
      PUBLIC_STREAMS: 'acme/news, */public/**',
    })
    expect(PUBLIC_STREAMS.map(({ pattern }) => pattern)).toEqual(['acme/news', '*/public/**'])
  })

  test.each([
    'AUTH_PROJECT_CLAIM',
    'AUTH_WRITE_MAY_CREATE',
    'AUTH_COOKIE',
    'PUBLIC_STREAMS',
    'GATEWAY_SECRETS',
    'TICKET_TTL_MS',
    'READER_KEY_EPOCH',
  ])('%s without keys does not start open', (name) => {
    const means = { [name]: valueOf(name) }
    expect(problemsOf(means)).toEqual([expect.stringMatching(/without keys/)])
    expect(problemsOf({ ...means, AUTH: 'none' })).toEqual([expect.stringMatching(/AUTH=none/)])
    expect(problemsOf({ ...means, ...KEYS })).toEqual([])
  })

  test.each(['http://localhost:1/a', 'http://127.0.0.1/a', 'http://[::1]:8/a', 'https://i/a'])(
    'keys may come from %s',
    (JWT_JWKS_URL) => {
      expect(problemsOf({ JWT_JWKS_URL })).toEqual([])
    },
  )

  test.each<[string, Record<string, string>, RegExp]>([
    ['keys that nobody uses', { AUTH: 'none', ...KEYS }, /AUTH=none .* JWT_HS256_SECRETS would/],
    [
      'rules that nobody uses',
      { AUTH: 'none', JWT_ISSUER: 'i', JWT_AUDIENCE: 'a' },
      /AUTH=none .* JWT_ISSUER, JWT_AUDIENCE would/,
    ],
    ['tokens without keys', { AUTH: 'jwt' }, /AUTH=jwt needs keys: one or more of JWT_HS256/],
    ['rules without keys', { JWT_ISSUER: 'i' }, /JWT_ISSUER without keys/],
    [
      'a short secret',
      { JWT_HS256_SECRETS: 'x'.repeat(31) },
      /JWT_HS256_SECRETS must be secrets of at least 32 bytes/,
    ],
    [
      'a short secret after a long one',
      { JWT_HS384_SECRETS: `${'x'.repeat(48)},${'y'.repeat(47)}` },
      /JWT_HS384_SECRETS must be secrets of at least 48 bytes/,
    ],
    ['no secret but commas', { JWT_HS512_SECRETS: ' , ' }, /of at least 64 bytes/],
    [
      'a short secret of gateways',
      { ...KEYS, GATEWAY_SECRETS: 'x'.repeat(31) },
      /GATEWAY_SECRETS must be secrets of at least 32 bytes/,
    ],
    [
      'a PEM file for an HMAC',
      { JWT_PEM_FILES: 'HS256:a.pem' },
      /JWT_PEM_FILES must be PATH or ALG:PATH/,
    ],
    ['a PEM file without algorithm', { JWT_PEM_FILES: 'none:a.pem' }, /JWT_PEM_FILES must be PATH/],
    ['an algorithm without PEM file', { JWT_PEM_FILES: 'RS256:' }, /JWT_PEM_FILES must be PATH/],
    ['keys over http', { JWT_JWKS_URL: 'http://i.example/' }, /JWT_JWKS_URL must be an https URL/],
    ['keys over something else', { JWT_JWKS_URL: 'file:///a' }, /JWT_JWKS_URL must be an https/],
    ['a password for keys', { JWT_JWKS_URL: 'https://a:b@i/' }, /JWT_JWKS_URL must be an https/],
    ['no URL', { JWT_JWKS_URL: 'i.example' }, /JWT_JWKS_URL must be an https/],
    ['a tolerance of hours', { ...KEYS, JWT_CLOCK_TOLERANCE_S: '301' }, /from 0 to 300/],
    ['a cookie that goes over http', { ...KEYS, AUTH_COOKIE: 'token' }, /AUTH_COOKIE must be/],
    ['a cookie of no name', { ...KEYS, AUTH_COOKIE: '__Secure-' }, /AUTH_COOKIE must be/],
    ['a cookie of two names', { ...KEYS, AUTH_COOKIE: '__Secure-a; b' }, /AUTH_COOKIE must be/],
    ['half a pattern', { ...KEYS, PUBLIC_STREAMS: 'a,b*' }, /PUBLIC_STREAMS must be names/],
    ['a yes that is none', { ...KEYS, AUTH_WRITE_MAY_CREATE: 'yes' }, /must be true or false/],
    ['a negative epoch', { ...KEYS, READER_KEY_EPOCH: '-1' }, /READER_KEY_EPOCH must be/],
  ])('refuses %s', (_name, environment, problem) => {
    expect(problemsOf(environment)).toEqual([expect.stringMatching(problem)])
  })

  test('never repeats a secret', () => {
    const problems = problemsOf({
      JWT_HS256_SECRETS: 'sesame',
      JWT_HS384_SECRETS: SECRET,
      GATEWAY_SECRETS: 'sesame',
      JWT_PEM_FILES: 'HS256:sesame',
      JWT_JWKS_URL: 'http://sesame',
      AUTH_COOKIE: 'sesame',
      AUTH: 'sesame',
    })
    expect(problems).toHaveLength(7)
    expect(problems.join()).not.toContain('sesame')
  })
})

/** One that may be said. */
function valueOf(name: string): string {
  const values: Readonly<Record<string, string>> = {
    AUTH_WRITE_MAY_CREATE: 'true',
    AUTH_COOKIE: '__Secure-c',
    GATEWAY_SECRETS: 's'.repeat(32),
  }
  return values[name] ?? '1'
}
