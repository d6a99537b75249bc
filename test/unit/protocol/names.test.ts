import { describe, expect, test } from 'vitest'
import { StreamNames } from '../../../src/protocol/names.ts'
import { ProjectRule } from '../../../src/protocol/project.ts'

const any = new StreamNames()
const projects = new StreamNames(new ProjectRule('acme-'))
const refusal = (code: string) => expect.objectContaining({ code }) as unknown

describe('names that begin with a project', () => {
  test.each(['mobile/a', 'mobile/a/b', 'mobile/ä b', 'm-1/__dsx', 'mobile/a/__ds'])(
    'are taken: %s',
    (name) => {
      expect(projects.check(name)).toBe(name)
      expect(projects.parsePath(encodeURIComponent(name))).toBe(name)
    },
  )

  test.each([
    ['a name of one segment', 'mobile', 'invalid_path'],
    ['a project with a capital', 'Mobile/a', 'invalid_path'],
    ['a project that is too short', 'ab/a', 'invalid_path'],
    ['a project that is too long', `${'x'.repeat(44)}/a`, 'invalid_path'],
    ['a project that begins with a hyphen', '-gateway/a', 'invalid_path'],
    ['a project that ends with one', 'gateway-/a', 'invalid_path'],
    ['a project and nothing behind it', 'mobile/', 'invalid_path'],
    ['no project', '/a', 'invalid_path'],
    ['our own names', '__ds/keys', 'reserved_path'],
    ['what would be ours if the basin was ours before', 'mobile/__ds/keys', 'reserved_path'],
    ['the same by itself', 'mobile/__ds', 'reserved_path'],
  ])('are refused: %s', (_what, name, code) => {
    expect(() => projects.check(name)).toThrow(refusal(code))
    expect(() => projects.parsePath(encodeURIComponent(name))).toThrow(refusal(code))
  })

  test('may be any without projects', () => {
    for (const name of ['mobile', 'Mobile/a', 'mobile/__ds/x']) expect(any.check(name)).toBe(name)
  })
})

describe('patterns', () => {
  test.each([
    ['mobile/**', 'mobile/'],
    ['mobile/*', 'mobile/'],
    ['mobile/a', 'mobile/a'],
    ['mobile/a/**', 'mobile/a'],
    ['*/a', ''],
    ['**/a', ''],
    ['**', ''],
  ])('%s looks at %j and no further', (pattern, prefix) => {
    expect(projects.parsePattern(pattern)).toMatchObject({ pattern, prefix })
  })

  test.each(['*', 'mobile', 'Mobile/*', '-gateway/**', '__ds/**', '%2A/a'])(
    '%s could match no name, and is refused',
    (pattern) => {
      expect(() => projects.parsePattern(pattern)).toThrow(refusal('invalid_path'))
      expect(any.parsePattern(pattern).pattern).toBe(pattern)
    },
  )
})

test('names in the log that are our own are told from those of streams', () => {
  expect(any.isReserved('__ds/keys')).toBe(true)
  expect(any.isReserved('mobile/__ds/keys')).toBe(false)
  expect(projects.isReserved('__ds/keys')).toBe(true)
  expect(projects.isReserved('mobile/__ds/keys')).toBe(true)
  expect(projects.isReserved('mobile/a')).toBe(false)
})
