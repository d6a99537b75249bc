import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { exactly, judge } from '../../../src/auth/grant.ts'
import type { Grant, Scope } from '../../../src/auth/grant.ts'
import { parseGlob } from '../../../src/protocol/glob.ts'

const SCOPES = ['read', 'write', 'manage'] as const

const grant = (given: Partial<Grant> = {}): Grant => ({
  subject: 'someone',
  project: undefined,
  scope: 'manage',
  streams: undefined,
  expiresAt: 0,
  keyId: 'k',
  ...given,
})
const globs = (...patterns: string[]) => patterns.map(parseGlob)

describe('judge', () => {
  test.each<[Scope | undefined, string]>([
    [undefined, 'none of them'],
    ['read', 'read'],
    ['write', 'read write'],
    ['manage', 'read write manage'],
  ])('a grant of %s allows %s', (scope, allowed) => {
    for (const needed of SCOPES) {
      const verdict = allowed.split(' ').includes(needed) ? 'allowed' : 'insufficient_scope'
      expect(judge(grant({ scope }), needed, 'a/b')).toBe(verdict)
    }
  })

  test.each<[string, Partial<Grant>, string, string]>([
    ['every project', {}, 'acme/a', 'allowed'],
    ['its own project', { project: 'acme' }, 'acme/a', 'allowed'],
    ['the stream that is named like its project', { project: 'acme' }, 'acme', 'allowed'],
    ['another project', { project: 'acme' }, 'other/a', 'forbidden'],
    ['a project whose name begins alike', { project: 'acme' }, 'acme2/a', 'forbidden'],
    ['a project in another case', { project: 'acme' }, 'Acme/a', 'forbidden'],
    ['its project further down', { project: 'acme' }, 'other/acme', 'forbidden'],
    ['no stream', { streams: [] }, 'a', 'forbidden'],
    ['one of its streams', { streams: globs('a', 'b/c') }, 'b/c', 'allowed'],
    ['none of its streams', { streams: globs('a', 'b/c') }, 'b', 'forbidden'],
    ['what lies below a stream', { streams: globs('a') }, 'a/b', 'forbidden'],
    ['what a pattern finds', { streams: globs('a/*') }, 'a/b', 'allowed'],
    ['what is too deep for it', { streams: globs('a/*') }, 'a/b/c', 'forbidden'],
    ['what is deep enough', { streams: globs('a/**') }, 'a/b/c', 'allowed'],
    [
      'a matching stream of another project',
      { project: 'acme', streams: globs('**') },
      'other/a',
      'forbidden',
    ],
    [
      'a stream of its project that does not match',
      { project: 'acme', streams: globs('other/*') },
      'acme/a',
      'forbidden',
    ],
    ['a name of wildcards', { streams: [exactly('a/*')] }, 'a/*', 'allowed'],
    ['what such a name would find', { streams: [exactly('a/*')] }, 'a/b', 'forbidden'],
  ])('%s', (_name, given, stream, verdict) => {
    expect(judge(grant(given), 'read', stream)).toBe(verdict)
  })

  test('a stream it is not for is forbidden even without scope', () => {
    expect(judge(grant({ scope: undefined, project: 'acme' }), 'read', 'b')).toBe('forbidden')
    expect(judge(grant({ scope: 'read', streams: [] }), 'manage', 'b')).toBe('forbidden')
  })

  test('less in a grant never allows more', () => {
    const segment = fc.constantFrom('a', 'b', 'c')
    const name = fc.array(segment, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'))
    const scope = fc.constantFrom(...SCOPES)
    fc.assert(
      fc.property(name, fc.array(name), scope, scope, segment, (asked, names, has, needs, own) => {
        const restricted = grant({ scope: has, project: own, streams: names.map(exactly) })
        if (judge(restricted, needs, asked) !== 'allowed') return
        expect(judge({ ...restricted, project: undefined }, needs, asked)).toBe('allowed')
        expect(judge({ ...restricted, streams: undefined }, needs, asked)).toBe('allowed')
        expect(judge({ ...restricted, scope: 'manage' }, needs, asked)).toBe('allowed')
        expect([names.includes(asked), asked.split('/')[0]]).toEqual([true, own])
      }),
    )
  })
})
