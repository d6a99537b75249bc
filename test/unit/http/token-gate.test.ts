import { describe, expect, test } from 'vitest'
import type { Authenticator } from '../../../src/auth/authenticator.ts'
import type { Grant } from '../../../src/auth/grant.ts'
import { ReaderKeys } from '../../../src/auth/reader-keys.ts'
import {
  AuthError,
  LogUnavailableError,
  StreamGoneError,
  StreamNotFoundError,
} from '../../../src/errors.ts'
import { TokenGate } from '../../../src/http/token-gate.ts'
import type { TokenGateOptions } from '../../../src/http/token-gate.ts'
import { parseGlob } from '../../../src/protocol/glob.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const NOBODY = { authorization: undefined, ticket: undefined, cookie: undefined }
const GRANT: Grant = {
  subject: 'me',
  project: 'a',
  scope: 'write',
  streams: undefined,
  expiresAt: 0,
  keyId: 'key',
}
const invalid = () => new AuthError('invalid_token', 'the token is not valid')

/** Tokens that are known at once begin with `known`, others take a turn. */
function authenticator(clock: ManualClock, withdrawn: ReadonlySet<string>): Authenticator {
  const grant = { ...GRANT, expiresAt: clock.now() + 60_000 }
  const fake = {
    verify: (token: string) => {
      if (token === 'known') return grant
      if (token === 'looked-up') return Promise.resolve(grant)
      if (token === 'managing') return Promise.resolve({ ...grant, scope: 'manage' as const })
      if (token === 'ending') return { ...grant, expiresAt: clock.now() + 999 }
      throw invalid()
    },
    verifyTicket: (ticket: string, use = 'url') =>
      ticket === `ticket-${use}` ? Promise.resolve(grant) : Promise.reject(invalid()),
    isCurrent: (keyId: string) => !withdrawn.has(keyId),
  }
  return fake as unknown as Authenticator
}

const READER_KEYS = {
  keyOf: (name: string, incarnation: string) => `rk_${name}_${incarnation}`,
  matches: (key: string, name: string, incarnation: string) => key === `rk_${name}_${incarnation}`,
} as unknown as ReaderKeys

function open(options: Partial<TokenGateOptions> = {}) {
  const clock = new ManualClock()
  const withdrawn = new Set<string>()
  const gate = new TokenGate({
    authenticator: authenticator(clock, withdrawn),
    clock,
    readerKeys: READER_KEYS,
    publicStreams: [parseGlob('a/open/*')],
    cookie: '__Secure-t',
    isPublic: (name) => Promise.resolve(name === 'a/public'),
    ...options,
  })
  return { gate, clock, withdrawn }
}

const bearer = (token: string) => ({ ...NOBODY, authorization: `Bearer ${token}` })
const read = (name: string) => ({ scope: 'read', name }) as const
const refused = (code: string) => expect.objectContaining({ code }) as unknown

describe('a caller', () => {
  test('who is known is let in at once', () => {
    const { gate } = open()
    expect(gate.admit(read('a/s'), bearer('known'))).toMatchObject({ grant: { subject: 'me' } })
  })

  test.each([
    ['a token', bearer('looked-up')],
    ['a ticket', { ...NOBODY, ticket: 'ticket-url' }],
    ['a ticket in the cookie', { ...NOBODY, cookie: 'x=1; __Secure-t=ticket-cookie' }],
    ['a token in the cookie', { ...NOBODY, cookie: '__Secure-t=known' }],
    ['a token, and a ticket that is none', { ...bearer('known'), ticket: 'nonsense' }],
    [
      'a ticket beside a header for a proxy',
      { ...NOBODY, authorization: 'Basic x', ticket: 'ticket-url' },
    ],
  ])('shows %s', async (_what, credentials) => {
    const { gate } = open()
    expect(await gate.admit(read('a/s'), credentials)).toMatchObject({ grant: { subject: 'me' } })
  })

  test.each([
    ['nothing', NOBODY, 'unauthenticated'],
    ['a token that is none', bearer('nonsense'), 'invalid_token'],
    [
      'a token that is none, and a ticket',
      { ...bearer('x'), ticket: 'ticket-url' },
      'invalid_token',
    ],
    ['a malformed header', { ...NOBODY, authorization: 'Bearer' }, 'invalid_token'],
    ['a ticket that is none', { ...NOBODY, ticket: '' }, 'invalid_token'],
    ['a ticket that is for a cookie', { ...NOBODY, ticket: 'ticket-cookie' }, 'invalid_token'],
    ['a cookie of no use any more', { ...NOBODY, cookie: '__Secure-t=old' }, 'unauthenticated'],
    [
      'a ticket for a URL in the cookie',
      { ...NOBODY, cookie: '__Secure-t=ticket-url' },
      'unauthenticated',
    ],
  ])('is refused with %s', async (_what, credentials, code) => {
    const { gate } = open()
    const admit = async () => gate.admit(read('a/s'), credentials)
    await expect(admit()).rejects.toEqual(refused(code))
  })

  test('may not write by a cookie, which a browser sends unasked', async () => {
    const { gate } = open()
    const credentials = { ...NOBODY, cookie: '__Secure-t=managing' }
    const admit = async () => gate.admit({ scope: 'write', name: 'a/s' }, credentials)
    await expect(admit()).rejects.toEqual(refused('insufficient_scope'))
  })

  test('has no cookie where none is set up', async () => {
    const { gate } = open({ cookie: undefined })
    const admit = async () => gate.admit(read('a/s'), { ...NOBODY, cookie: '__Secure-t=known' })
    await expect(admit()).rejects.toEqual(refused('unauthenticated'))
  })
})

describe('a public stream', () => {
  test.each(['a/public', 'a/open/s'])(
    '%s is read by everybody, also with a token for others',
    async (name) => {
      const { gate } = open()
      for (const credentials of [NOBODY, bearer('known')]) {
        await expect(Promise.resolve(gate.admit(read(name), credentials))).resolves.toBeDefined()
      }
    },
  )

  test('is written by nobody without a token', async () => {
    const { gate } = open()
    const admit = async () => gate.admit({ scope: 'write', name: 'a/public' }, NOBODY)
    await expect(admit()).rejects.toEqual(refused('unauthenticated'))
  })

  test('is not looked for where its name says so', () => {
    const { gate } = open({ isPublic: () => expect.unreachable('looked at') })
    expect(gate.admit(read('a/open/s'), NOBODY)).toEqual({
      grant: undefined,
      unlessPublic: undefined,
    })
  })

  test('is not read when another one is in its place by then', async () => {
    const { gate } = open()
    const access = await gate.admit(read('a/public'), NOBODY)
    const life = { name: 'a/public', incarnation: 'i', isPublic: true }
    gate.confirm(access, life)
    expect(gate.lease(access, life)).toBeUndefined()
    expect(() => gate.confirm(access, { ...life, isPublic: false })).toThrow(AuthError)
    expect(() => gate.lease(access, { ...life, isPublic: false })).toThrow(AuthError)
  })

  test.each([new StreamNotFoundError(), new StreamGoneError()])(
    'that is not there is no different from one that is private: %s',
    async (error) => {
      const { gate } = open({ isPublic: () => Promise.reject(error) })
      const admit = async () => gate.admit(read('b/s'), NOBODY)
      await expect(admit()).rejects.toEqual(refused('unauthenticated'))
    },
  )

  test('can’t be told from a private one while the log is away', async () => {
    const { gate } = open({ isPublic: () => Promise.reject(new LogUnavailableError()) })
    const admit = async () => gate.admit(read('b/s'), NOBODY)
    await expect(admit()).rejects.toBeInstanceOf(LogUnavailableError)
  })
})

describe('a lease', () => {
  const life = { name: 'a/s', incarnation: 'i', isPublic: false }

  test('is as long as the token’s life', async () => {
    const { gate, clock } = open()
    const access = await gate.admit(read('a/s'), bearer('known'))
    expect(gate.lease(access, life)).toEqual({ until: clock.now() + 60_000, keyId: 'key' })
  })

  test('is not given for less than a second', async () => {
    const { gate } = open()
    const access = await gate.admit(read('a/s'), bearer('ending'))
    expect(() => gate.lease(access, life)).toThrow(refused('token_expired'))
  })

  test('is not given when the key is withdrawn meanwhile', async () => {
    const { gate, withdrawn } = open()
    const access = await gate.admit(read('a/s'), bearer('known'))
    withdrawn.add('key')
    expect(() => gate.lease(access, life)).toThrow(refused('invalid_token'))
  })
})

describe('the audience of an answer', () => {
  const life = { name: 'a/s', incarnation: 'i', isPublic: false }
  test.each([
    ['private without a key', life, undefined, 'private'],
    ['shared with its key', life, 'rk_a/s_i', 'shared'],
    ['private with the key of another stream', life, 'rk_a/t_i', 'private'],
    ['private with the key of another life', life, 'rk_a/s_j', 'private'],
    ['shared for a public stream', { ...life, isPublic: true }, undefined, 'shared'],
    ['shared for one that is public by name', { ...life, name: 'a/open/s' }, undefined, 'shared'],
  ])('%s', (_what, stream, key, audience) => {
    expect(open().gate.audienceOf(stream, key)).toBe(audience)
  })

  test('is never shared where there are no keys', () => {
    const { gate } = open({ readerKeys: new ReaderKeys({ secrets: [], epoch: 0 }) })
    expect([gate.audienceOf(life, 'rk_a/s_i'), gate.readerKeyOf(life)]).toEqual([
      'private',
      undefined,
    ])
  })

  test.each([
    ['private', life, 'rk_a/s_i'],
    ['public', { ...life, isPublic: true }, undefined],
    ['public by name', { ...life, name: 'a/open/s' }, undefined],
  ])('a %s stream and its key', (_what, stream, key) => {
    expect(open().gate.readerKeyOf(stream)).toBe(key)
  })
})

describe('what a request turns out to want', () => {
  test.each([
    ['its stream', { scope: 'write', streams: ['a/s'] }, undefined],
    ['a pattern of its project', { scope: 'write', pattern: parseGlob('a/**') }, undefined],
    ['a stream of another project', { scope: 'read', streams: ['a/s', 'b/s'] }, 'forbidden'],
    ['a pattern over projects', { scope: 'read', pattern: parseGlob('*/s') }, 'forbidden'],
    ['a pattern of everything', { scope: 'read', pattern: parseGlob('**') }, 'forbidden'],
    ['more than its scope', { scope: 'manage', streams: ['a/s'] }, 'insufficient_scope'],
    ['more than its scope, of nothing', { scope: 'manage' }, 'insufficient_scope'],
  ] as const)('%s', async (_what, intent, code) => {
    const { gate } = open()
    const access = await gate.identify(bearer('known'))
    const check = () => gate.check(access, intent)
    if (code === undefined) check()
    else expect(check).toThrow(refused(code))
  })

  test('is refused to whoever says nothing', async () => {
    const identify = async () => open().gate.identify(NOBODY)
    await expect(identify()).rejects.toEqual(refused('unauthenticated'))
  })
})
