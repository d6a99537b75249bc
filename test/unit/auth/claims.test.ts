import { describe, expect, test } from 'vitest'
import { parseClaims } from '../../../src/auth/claims.ts'
import type { Grant, Scope } from '../../../src/auth/grant.ts'
import { AuthError } from '../../../src/errors.ts'

const RULES = { projectClaim: 'sub', toleranceMs: 30_000 }
const USUAL = { exp: 1000, sub: 'acme', scope: 'read' }

/** Which of these names a grant is for. */
const NAMES = ['a', 'a/b', 'a/b/c', 'b', 'a*', '*', '%2A']
const streamsOf = ({ streams }: Grant): string[] | 'all' =>
  streams === undefined
    ? 'all'
    : NAMES.filter((name) => streams.some(({ matches }) => matches(name)))

describe('parseClaims', () => {
  test('reads what a token allows', () => {
    expect(parseClaims(USUAL, RULES, 'k1')).toEqual({
      subject: 'acme',
      project: 'acme',
      scope: 'read',
      streams: undefined,
      expiresAt: 1_030_000,
      keyId: 'k1',
    })
  })

  test.each<[unknown, Scope | undefined]>([
    ['read', 'read'],
    ['read write', 'write'],
    ['manage', 'manage'],
    ['manage read', 'manage'],
    ['openid  email write', 'write'],
    ['openid', undefined],
    ['', undefined],
    [undefined, undefined],
    ['READ', undefined],
    ['read,write', undefined],
    ['reader', undefined],
    [['read', 'write'], 'write'],
    [['other', 'manage'], 'manage'],
    [['read write'], undefined],
    [[], undefined],
    ['constructor', undefined],
  ])('scope %j is %s', (scope, expected) => {
    expect(parseClaims({ ...USUAL, scope }, RULES, 'k').scope).toBe(expected)
  })

  test.each<[string, unknown, string | undefined]>([
    ['sub', 'acme', 'acme'],
    ['sub', '*', undefined],
    ['org', 'acme', 'acme'],
    ['https://a.example/project', 'acme', 'acme'],
    ['sub', 'auth0|5', 'auth0|5'],
  ])('the claim %s of %j is the project %s', (projectClaim, value, project) => {
    const claims = { ...USUAL, [projectClaim]: value }
    expect(parseClaims(claims, { ...RULES, projectClaim }, 'k').project).toBe(project)
  })

  test('without a claim for it a token is for every project', () => {
    const { project, subject } = parseClaims(USUAL, { ...RULES, projectClaim: undefined }, 'k')
    expect([project, subject]).toEqual([undefined, 'acme'])
  })

  test.each<[string, object, string[] | 'all']>([
    ['neither', {}, 'all'],
    ['one name', { streams: 'a/b' }, ['a/b']],
    ['names and patterns', { streams: ['b', 'a/*'] }, ['a/b', 'b']],
    ['slashes around a name', { streams: ['/a/b/'] }, ['a/b']],
    ['an escaped wildcard', { streams: ['%2A'] }, ['*']],
    ['all', { streams: ['**'] }, NAMES],
    ['an empty list', { streams: [] }, []],
    ['stream_id', { stream_id: 'a/b' }, ['a/b']],
    ['stream_id that looks like a pattern', { stream_id: '*' }, ['*']],
    ['stream_id that looks escaped', { stream_id: '%2A' }, ['%2A']],
    ['stream_id within streams', { stream_id: 'a/b', streams: ['a/**'] }, ['a/b']],
    ['stream_id outside streams', { stream_id: 'b', streams: ['a/**'] }, []],
    ['stream_id and an empty list', { stream_id: 'b', streams: [] }, []],
  ])('streams by %s', (_name, claims, names) => {
    expect(streamsOf(parseClaims({ ...USUAL, ...claims }, RULES, 'k'))).toEqual(names)
  })

  test.each<[string, object]>([
    ['no exp', { exp: undefined }],
    ['exp as text', { exp: '1000' }],
    ['exp that is no number', { exp: NaN }],
    ['exp without end', JSON.parse('{"exp":1e999}') as object],
    ['exp after the end of time', { exp: 8.64e12 + 1 }],
    ['no project', { sub: undefined }],
    ['an empty project', { sub: '' }],
    ['a project of two segments', { sub: 'a/b' }],
    ['a project that goes up', { sub: '..' }],
    ['a reserved project', { sub: '__ds' }],
    ['a project with a control character', { sub: 'a\n' }],
    ['a project that is a number', { sub: 5 }],
    ['a list of projects', { sub: ['acme'] }],
    ['scope as a number', { scope: 1 }],
    ['scope as null', { scope: null }],
    ['scope as a list of others', { scope: ['read', 1] }],
    ['scope as an object', { scope: { read: true } }],
    ['streams as a number', { streams: 1 }],
    ['streams as null', { streams: null }],
    ['a list of more than texts', { streams: ['a', null] }],
    ['half a wildcard', { streams: ['a*'] }],
    ['an empty pattern', { streams: [''] }],
    ['a pattern that goes up', { streams: ['a/../b'] }],
    ['stream_id as a list', { stream_id: ['a'] }],
    ['an empty stream_id', { stream_id: '' }],
    ['a stream_id that goes up', { stream_id: 'a/../b' }],
    ['a reserved stream_id', { stream_id: '__ds/keys' }],
    ['a malformed list beside a good stream_id', { stream_id: 'a', streams: [5] }],
  ])('refuses %s', (_name, claims) => {
    expect(() => parseClaims({ ...USUAL, ...claims }, RULES, 'k')).toThrow(
      expect.objectContaining({ constructor: AuthError, code: 'invalid_token' }) as Error,
    )
  })

  test.each(['__proto__', 'constructor', 'toString'])(
    'a claim %s is not what every object has',
    (projectClaim) => {
      expect(() => parseClaims(USUAL, { ...RULES, projectClaim }, 'k')).toThrow(AuthError)
    },
  )
})
