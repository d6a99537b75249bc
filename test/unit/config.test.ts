import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { FREE, PRICE_KINDS, S2_LIST } from '../../src/metrics/prices.ts'
import { ConfigError, VARIABLE_NAMES, loadConfig } from '../../src/config.ts'

/** The rows of README's configuration table: name → default as it is written there. */
function readmeTable(): Map<string, string> {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const rows = readme.matchAll(/^\| `([A-Z0-9_]+)`\s*\| (.+?)\s*\|/gm)
  return new Map([...rows].map(([, name = '', value = '']) => [name, value]))
}

const expectedList = { ...S2_LIST, list_streams: 1e-5, read_session_minute: 0 }

function problemsOf(environment: Record<string, string>): string[] {
  try {
    loadConfig(environment)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.message.split('\n').slice(1)
  }
}

describe('loadConfig', () => {
  test('needs nothing: the embedded log on loopback', () => {
    expect(loadConfig({})).toMatchObject({
      HOST: '127.0.0.1',
      PORT: 4437,
      HUB_IDLE_MS: 60_000,
      LONG_POLL_TIMEOUT_MS: 20_000,
      LOG_LEVEL: 'info',
      log: { kind: 'embedded', directory: './data' },
    })
  })

  test('takes an empty variable for one that is not set', () => {
    expect(loadConfig({ PORT: '', S2_ENDPOINT: '' })).toEqual(loadConfig({}))
  })

  test.each([
    [
      's2-lite by its URL, in a basin of its own',
      { S2_ENDPOINT: 'http://127.0.0.1:8080', AUTH: 'none' },
      {
        kind: 's2',
        endpoint: 'http://127.0.0.1:8080',
        accessToken: 'none',
        basin: 'durable-streams',
      },
    ],
    [
      's2-lite by a URL that ends with a slash',
      { S2_ENDPOINT: 'http://127.0.0.1:8080/', AUTH: 'none' },
      {
        kind: 's2',
        endpoint: 'http://127.0.0.1:8080',
        accessToken: 'none',
        basin: 'durable-streams',
      },
    ],
    [
      'managed S2 by its token',
      { S2_ACCESS_TOKEN: 'secret', S2_BASIN: 'my-basin', AUTH: 'none' },
      { kind: 's2', endpoint: undefined, accessToken: 'secret', basin: 'my-basin' },
    ],
    [
      'projects by a prefix, with our own names where no project can be',
      { S2_ACCESS_TOKEN: 'secret', TENANCY: 'project', S2_BASIN_PREFIX: 'acme-', AUTH: 'none' },
      { kind: 's2', accessToken: 'secret', basin: 'acme--gateway', basinPrefix: 'acme-' },
    ],
    [
      'projects, with our own names elsewhere',
      {
        S2_ENDPOINT: 'http://127.0.0.1:8080',
        TENANCY: 'project',
        S2_BASIN_PREFIX: 'acme-',
        S2_BASIN: 'gateway-of-acme',
        AUTH: 'none',
      },
      {
        kind: 's2',
        endpoint: 'http://127.0.0.1:8080',
        accessToken: 'none',
        basin: 'gateway-of-acme',
        basinPrefix: 'acme-',
      },
    ],
    [
      'the embedded log with projects',
      { TENANCY: 'project' },
      { kind: 'embedded', directory: './data' },
    ],
    [
      'the embedded log with projects as production has them',
      { TENANCY: 'project', S2_BASIN_PREFIX: 'acme-' },
      { kind: 'embedded', directory: './data' },
    ],
    [
      'the embedded log in a directory',
      { DATA_DIR: '/srv/streams' },
      { kind: 'embedded', directory: '/srv/streams' },
    ],
  ])('chooses %s', (_name, environment, log) => {
    expect(loadConfig(environment).log).toEqual(log)
  })

  test.each([
    ['a port that is none', { PORT: '70000' }, /PORT must be a whole number from 0 to 65535/],
    ['a number with a unit', { HUB_IDLE_MS: '60s' }, /HUB_IDLE_MS must be a whole number/],
    ['an append limit over 64 MiB', { MAX_APPEND_BYTES: '67108865' }, /MAX_APPEND_BYTES/],
    [
      'an append limit that no append could reach',
      { MAX_APPEND_BYTES: '2000000', MAX_BUFFERED_APPEND_BYTES: '1999999' },
      /MAX_BUFFERED_APPEND_BYTES must be at least/,
    ],
    [
      'an endpoint that is no URL',
      { S2_ENDPOINT: 'localhost', AUTH: 'none' },
      /S2_ENDPOINT must be/,
    ],
    [
      'a basin name S2 would refuse',
      { S2_BASIN: 'x', S2_ENDPOINT: 'http://127.0.0.1:1', AUTH: 'none' },
      /S2_BASIN must be 8 to 48/,
    ],
    ['a basin without an S2', { S2_BASIN: 'my-basin' }, /S2_BASIN is set, but neither/],
    ['a tenancy that does not exist', { TENANCY: 'many' }, /TENANCY must be single or project/],
    [
      'projects in S2 without a prefix',
      { S2_ACCESS_TOKEN: 't', TENANCY: 'project', S2_BASIN: 'my-basin', AUTH: 'none' },
      /S2_BASIN_PREFIX is needed with TENANCY=project/,
    ],
    ['a prefix without projects', { S2_BASIN_PREFIX: 'acme-' }, /TENANCY is not project/],
    ...['-acme', 'Acme-', 'ac_me', 'ä', 'x'.repeat(41)].map(
      (S2_BASIN_PREFIX): [string, Record<string, string>, RegExp] => [
        `the prefix ${S2_BASIN_PREFIX}`,
        { TENANCY: 'project', S2_BASIN_PREFIX },
        /S2_BASIN_PREFIX must be 1 to 40/,
      ],
    ),
    [
      'a basin of ours that is the one of a project',
      {
        S2_ACCESS_TOKEN: 't',
        TENANCY: 'project',
        S2_BASIN_PREFIX: 'acme-',
        S2_BASIN: 'acme-gateway',
        AUTH: 'none',
      },
      /S2_BASIN must not be S2_BASIN_PREFIX and a project/,
    ],
    ['managed S2 without a basin', { S2_ACCESS_TOKEN: 't', AUTH: 'none' }, /S2_BASIN is needed/],
    [
      'a lock that a living writer can lose',
      { S2_ENDPOINT: 'http://127.0.0.1:1', AUTH: 'none', APPEND_LOCK_MS: '3999' },
      /APPEND_LOCK_MS must be at least S2_TIMEOUT_MS/,
    ],
    ['S2 without a word on access', { S2_ENDPOINT: 'http://127.0.0.1:1' }, /AUTH must be set/],
    ['an open address without a word on access', { HOST: '0.0.0.0' }, /AUTH must be set/],
    [
      'a limit that does not exist',
      { LIMITS_SUBJECT: 'requests=5 pigeons=2' },
      /LIMITS_SUBJECT has 'pigeons=2', which is none of requests=<n> appends=<n>/,
    ],
    ['a limit of nothing', { LIMITS_PROJECT: 'creates=0' }, /LIMITS_PROJECT has 'creates=0'/],
    ['a limit with a unit', { LIMITS_ADDRESS: 'bytes=10MB' }, /LIMITS_ADDRESS has 'bytes=10MB'/],
    ['a limit without a number', { LIMITS_ADDRESS: 'bytes' }, /LIMITS_ADDRESS has 'bytes'/],
    ['a limit that no header can show', { LIMITS_ADDRESS: 'bytes=1000000000001' }, /has 'bytes=1/],
    ['a limit twice', { LIMITS_ADDRESS: 'bytes=1 bytes=1' }, /LIMITS_ADDRESS has bytes twice/],
    ['limits and none', { LIMITS_ADDRESS: 'none bytes=1' }, /LIMITS_ADDRESS has 'none'/],
    ['limits of no word', { LIMITS_ADDRESS: ' ' }, /LIMITS_ADDRESS must be none, or some of/],
    ['no hop', { TRUST_PROXY: '0' }, /TRUST_PROXY must be 1 to 100 hops/],
    ['a proxy by its name', { TRUST_PROXY: '10.0.0.1, proxy' }, /TRUST_PROXY .* not 'proxy'/],
    ['a network that is none', { TRUST_PROXY: '10.0.0.0/33' }, /not '10.0.0.0\/33'/],
    ['trust in all the world', { TRUST_PROXY: '0.0.0.0/0' }, /not '0.0.0.0\/0'/],
    [
      'longer URLs than heads',
      { MAX_HEADER_BYTES: '8191' },
      /MAX_URL_BYTES must be at most MAX_HEADER_BYTES/,
    ],
    ['a kind of access that does not exist', { AUTH: 'basic' }, /AUTH must be none or jwt/],
    [
      'an origin with a path',
      { CORS_ORIGINS: 'https://a.example, https://b.example/' },
      /CORS_ORIGINS must be \* or origins like .*: origin 2 has a path/,
    ],
    [
      'a regular expression for an origin',
      { CORS_ORIGINS: '^https://.*\\.a\\.example$' },
      /CORS_ORIGINS must be .*: origin 1 has characters of a regular expression/,
    ],
    [
      'a project without origins',
      { CORS_PROJECT_ORIGINS: 'acme=' },
      /CORS_PROJECT_ORIGINS must be like .*: project 1: there is no origin/,
    ],
    ['a word on credentials that is none', { CORS_CREDENTIALS: 'yes' }, /must be true or false/],
    ['credentials for all the world', { CORS_CREDENTIALS: 'true' }, /needs exact origins/],
    [
      'credentials for subdomains',
      { CORS_CREDENTIALS: 'true', CORS_ORIGINS: 'https://a.example https://*.a.example' },
      /needs exact origins/,
    ],
    [
      'credentials where a project is for all the world',
      {
        CORS_CREDENTIALS: 'true',
        CORS_ORIGINS: 'https://a.example',
        CORS_PROJECT_ORIGINS: 'acme=https://b.example; open=*',
      },
      /needs exact origins/,
    ],
    [
      'credentials where a project is for subdomains',
      {
        CORS_CREDENTIALS: 'true',
        CORS_ORIGINS: 'https://a.example',
        CORS_PROJECT_ORIGINS: 'acme=https://*.b.example',
      },
      /needs exact origins/,
    ],
    [
      'a log level that does not exist',
      { LOG_LEVEL: 'loud' },
      /LOG_LEVEL must be one of fatal, error/,
    ],
  ])('refuses %s', (_name, environment, problem) => {
    expect(problemsOf(environment)).toEqual([expect.stringMatching(problem)])
  })

  test('names every problem at once', () => {
    const problems = problemsOf({ PORT: 'x', LOG_LEVEL: 'loud', S2_ENDPOINT: 'nowhere' })
    expect(problems).toEqual([
      expect.stringContaining('PORT'),
      expect.stringContaining('S2_ENDPOINT'),
      expect.stringContaining('LOG_LEVEL'),
      expect.stringContaining('AUTH'),
    ])
  })

  test('never repeats a value, which may be a secret', () => {
    const problems = problemsOf({ S2_ACCESS_TOKEN: 'sesame', S2_BASIN: 'sesame!', PORT: 'sesame' })
    expect(problems.length).toBeGreaterThan(0)
    expect(problems.join()).not.toContain('sesame')
  })

  test.each([
    ['https://host', 'https://host'],
    ['https://host/', 'https://host'],
    ['https://host:8443//', 'https://host:8443'],
    ['https://host/base', 'https://host/base'],
    ['https://host/base/', 'https://host/base'],
    ['https://host/a/b//', 'https://host/a/b'],
    ['HTTPS://Host/Base?', 'https://host/Base'],
    ['http://[::1]:4437/', 'http://[::1]:4437'],
  ])('takes the public URL %s, to be followed by a path, for %s', (given, PUBLIC_URL) => {
    expect(loadConfig({ PUBLIC_URL: given }).PUBLIC_URL).toBe(PUBLIC_URL)
  })

  test.each([
    'host',
    '/base',
    'ftp://host',
    'https://u:p@host',
    'https://host?q',
    'https://host#f',
  ])('refuses the public URL %s', (PUBLIC_URL) => {
    expect(problemsOf({ PUBLIC_URL })).toEqual([expect.stringMatching(/PUBLIC_URL must be/)])
  })

  test('has pages of all origins read, and none with cookies, unless it is told', () => {
    const all = { origins: { kind: 'any' }, credentials: false }
    expect(loadConfig({}).cors).toMatchObject({ ...all, projects: new Map() })
    const CORS_ORIGINS = 'https://a.example'
    expect(loadConfig({ CORS_ORIGINS, CORS_CREDENTIALS: 'true' }).cors).toMatchObject({
      origins: { kind: 'listed', exact: new Set([CORS_ORIGINS]) },
      credentials: true,
    })
  })

  test.each([
    ['requests=5', { requests: 5 }],
    ['  bytes=7,requests=5 ', { requests: 5, bytes: 7 }],
    [
      'requests=1 appends=2 bytes=3 connections=4 creates=5',
      { requests: 1, appends: 2, bytes: 3, connections: 4, creates: 5 },
    ],
    ['none', undefined],
  ])('takes the limits %j', (LIMITS_SUBJECT, limits) => {
    expect(loadConfig({ LIMITS_SUBJECT }).LIMITS_SUBJECT).toEqual(limits)
  })

  test('limits subjects and projects of itself, and addresses when told', () => {
    const { LIMITS_SUBJECT, LIMITS_PROJECT, LIMITS_ADDRESS } = loadConfig({})
    for (const limits of [LIMITS_SUBJECT, LIMITS_PROJECT]) {
      expect(Object.keys(limits ?? {}).sort()).toEqual([
        'appends',
        'bytes',
        'connections',
        'creates',
        'requests',
      ])
    }
    expect(LIMITS_ADDRESS).toBeUndefined()
  })

  test.each<[string, number | string[]]>([
    ['2', 2],
    ['10.0.0.0/8, 192.0.2.7 2001:db8::/32', ['10.0.0.0/8', '192.0.2.7', '2001:db8::/32']],
  ])('trusts the proxies %s', (TRUST_PROXY, proxies) => {
    expect(loadConfig({ TRUST_PROXY }).TRUST_PROXY).toEqual(proxies)
  })

  test.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])('takes %s for loopback', (HOST) => {
    expect(problemsOf({ HOST })).toEqual([])
  })
})

describe('metrics and prices', () => {
  test.each([
    ['list', S2_LIST],
    ['none', FREE],
    ['read_gib=0.02, append=5e-7', { ...S2_LIST, read_gib: 0.02, append: 5e-7 }],
    ['list_streams=0.00001 read_session_minute=0', expectedList],
  ])('takes the prices %j', (S2_PRICES, prices) => {
    expect(loadConfig({ S2_PRICES }).S2_PRICES).toEqual(prices)
  })

  test.each([
    ['reads=1', "has 'reads=1', which is none of append=<usd>"],
    ['read=-1', "has 'read=-1', which is none of"],
    ['read=1e9', "has 'read=1e9', which is none of"],
    ['read=1 read=2', 'has read twice'],
    ['list read=1', "has 'list', which is none of"],
    ['sk-0123456789-abcdefghijklmnop', 'has a word, which is none of'],
    [',', 'must be list, none, or some of append=<usd>'],
  ])('refuses the prices %j', (S2_PRICES, problem) => {
    expect(problemsOf({ S2_PRICES })[0]).toContain(`S2_PRICES ${problem}`)
  })

  test('the README has the prices of the list', () => {
    expect(loadConfig({ S2_PRICES: below('S2_PRICES') }).S2_PRICES).toEqual(S2_LIST)
    expect(below('S2_PRICES')?.split(' ')).toHaveLength(PRICE_KINDS.length)
  })

  test('metrics are on, and on the port of the streams', () => {
    const { METRICS, METRICS_PORT, METRICS_HOST } = loadConfig({})
    expect([METRICS, METRICS_PORT, METRICS_HOST]).toEqual(['on', undefined, undefined])
  })

  test.each<[Record<string, string>, string]>([
    [{ METRICS: 'maybe' }, 'METRICS must be on or off'],
    [{ METRICS_PORT: '70000' }, 'METRICS_PORT must be a whole number from 0 to 65535'],
    [{ METRICS_HOST: '::1' }, 'METRICS_HOST is set, but METRICS_PORT is not'],
    [{ METRICS_PORT: '4437' }, 'METRICS_PORT must not be PORT: unset, metrics are on that port'],
  ])('refuses %j', (environment, problem) => {
    expect(problemsOf(environment)).toEqual([`  - ${problem}`])
  })

  test('the same port at another address is another one', () => {
    expect(problemsOf({ METRICS_PORT: '4437', METRICS_HOST: '::1' })).toEqual([])
  })
})

describe('the configuration table of README.md', () => {
  test('has every variable and no other', () => {
    expect([...readmeTable().keys()].sort()).toEqual([...VARIABLE_NAMES].sort())
  })

  test('gives the true defaults', () => {
    // Some stand only beside keys.
    const keys = { JWT_HS256_SECRETS: 's'.repeat(32) }
    const config: Record<string, unknown> = { ...loadConfig({}) }
    const withDefault = [...readmeTable()].filter(([name]) => hasDefault(config[name]))
    expect(withDefault.length).toBeGreaterThan(15)
    for (const [name, cell] of withDefault) {
      const written = cell.startsWith('[below]') ? below(name) : /^`([^`]+)`$/.exec(cell)?.[1]
      // Lists and the like are compared as they are understood.
      const understood: Record<string, unknown> = { ...loadConfig({ ...keys, [name]: written }) }
      expect([name, typeof written, understood[name]]).toEqual([name, 'string', config[name]])
    }
  })
})

/** What a block of README says of a variable whose default is too long for the table. */
function below(name: string): string | undefined {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  return new RegExp(`^${name}='(.+)'$`, 'm').exec(readme)?.[1]
}

/** An empty list is nothing that could be written. */
function hasDefault(value: unknown): boolean {
  return value !== undefined && !(Array.isArray(value) && value.length === 0)
}
