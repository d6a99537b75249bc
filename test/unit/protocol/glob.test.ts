import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { covers, parseGlob } from '../../../src/protocol/glob.ts'

/** PROTOCOL §6.2 word for word: slow, and plainly right. */
function naive(pattern: readonly string[], name: readonly string[]): boolean {
  const [part, ...parts] = pattern
  const [segment, ...segments] = name
  if (part === undefined) return segment === undefined
  if (part === '**') {
    return naive(parts, name) || (segment !== undefined && naive(pattern, segments))
  }
  return segment !== undefined && (part === '*' || part === segment) && naive(parts, segments)
}

describe('parseGlob', () => {
  test.each<[string, string[], string[]]>([
    ['a/b', ['a/b'], ['a', 'a/b/c', 'x/a/b', 'A/b', 'ab', 'a/bb']],
    ['*', ['a', '*', '**', 'a*b'], ['a/b']],
    ['events/*', ['events/a', 'events/*'], ['events', 'events/a/b', 'event/a', 'x/events/a']],
    ['*/b', ['a/b', 'b/b'], ['b', 'a/b/b', 'a/c']],
    ['a/*/c', ['a/b/c', 'a/*/c'], ['a/c', 'a/b/b/c', 'a/b/d']],
    ['*/*', ['a/b'], ['a', 'a/b/c']],
    ['**', ['a', 'a/b', 'a/b/c/d'], []],
    ['a/**', ['a', 'a/b', 'a/b/c'], ['b', 'ab', 'b/a']],
    ['**/a', ['a', 'b/a', 'b/c/a', 'a/a'], ['b', 'a/b', 'ba']],
    ['a/**/z', ['a/z', 'a/b/z', 'a/z/z', 'a/b/c/z'], ['a', 'z', 'a/b', 'b/z', 'az']],
    ['a/**/b/**/c', ['a/b/c', 'a/x/b/y/z/c', 'a/b/b/c/c'], ['a/c/b', 'a/x/c', 'b/c']],
    ['**/*', ['a', 'a/b'], []],
    ['**/*/**', ['a', 'a/b/c'], []],
    ['*/**/*', ['a/b', 'a/b/c'], ['a']],
    ['**/**', ['a', 'a/b'], []],
    ['**/a/*/b', ['a/x/b', 'a/a/b', 'a/a/a/b', 'y/a/x/b'], ['a/b', 'a/x/y/b']],
    ['a.c/(x)/[y]?', ['a.c/(x)/[y]?'], ['abc/(x)/[y]?', 'a.c/x/[y]', 'a.c/(x)/y']],
    ['%2A', ['*'], ['a', '%2A']],
    ['a%2Ab/*', ['a*b/c'], ['axb/c', 'a%2Ab/c']],
    ['a/%2a%2A', ['a/**'], ['a/b', 'a', 'a/b/c']],
    ['100%/x%20y', ['100%/x%20y'], ['100%/x y']],
    ['.../.a', ['.../.a'], ['..../.a']],
    ['//events/*/', ['events/a'], ['events', '/events/a', 'events/a/']],
    ['café/*', ['café/中'], ['cafe/中']],
  ])('%j finds %j and not %j', (pattern, found, not) => {
    const { matches } = parseGlob(pattern)
    expect([found.filter(matches), not.filter(matches)]).toEqual([found, []])
  })

  test.each([
    ['nothing', ''],
    ['nothing but slashes', '///'],
    ['an empty segment', 'a//b'],
    ['a dot', 'a/./b'],
    ['two dots', '../b'],
    ['a wildcard before text', '*a'],
    ['a wildcard after text', 'a/b*'],
    ['a wildcard inside text', 'a*b/c'],
    ['a double wildcard in text', 'a**'],
    ['three stars', 'a/***'],
    ['a control character', 'a\u0000/*'],
    ['a C1 control character', 'a\u0085'],
    ['half a character', 'a\ud800/*'],
    ['more than 512 bytes', 'x'.repeat(513)],
    ['more than 512 bytes in fewer characters', 'é'.repeat(257)],
  ])('refuses %s', (_name, pattern) => {
    expect(() => parseGlob(pattern)).toThrow(expect.objectContaining({ code: 'invalid_path' }))
  })

  test.each([
    ['512 bytes', 'é'.repeat(256)],
    ['512 bytes between slashes', `//${'x'.repeat(512)}/`],
    ['characters of two surrogates', '\u{1f600}/*'],
  ])('takes %s', (_name, pattern) => {
    expect(() => parseGlob(pattern)).not.toThrow()
  })

  test.each([
    ['a/b', 'a/b', 'a/b'],
    ['/a/b/', 'a/b', 'a/b'],
    ['events/*', 'events/*', 'events/'],
    ['//events/**/x//', 'events/**/x', 'events/'],
    ['a/b/*/c', 'a/b/*/c', 'a/b/'],
    ['*', '*', ''],
    ['**/a', '**/a', ''],
    ['a/**', 'a/**', 'a'],
    ['a/**/**', 'a/**/**', 'a'],
    ['a/**/*', 'a/**/*', 'a/'],
    ['a/*/**', 'a/*/**', 'a/'],
    ['a%2Ab/*', 'a%2Ab/*', 'a*b/'],
    ['a%2ab', 'a%2ab', 'a*b'],
  ])('reads %j as the pattern %j of names that begin with %j', (text, pattern, prefix) => {
    expect(parseGlob(text)).toMatchObject({ pattern, prefix })
  })

  test.each([
    ['a/**', 'a'],
    ['a/b/**', 'a/b'],
    ['a/**/**', 'a'],
    ['a/b/*', 'a/b/c'],
    ['a/**/b', 'a/b'],
  ])('has a prefix for %j that lists %j', (pattern, name) => {
    const { matches, prefix } = parseGlob(pattern)
    expect([matches(name), name.startsWith(prefix)]).toEqual([true, true])
  })

  test('takes no time that grows beyond measure for a run of slashes', () => {
    const begun = performance.now()
    expect(() => parseGlob(`a${'/'.repeat(100_000)}b`)).toThrow()
    expect(performance.now() - begun).toBeLessThan(500)
  })

  const segment = fc.constantFrom('a', 'b', 'c')
  const part = fc.constantFrom('a', 'b', '*', '**', '**')
  const pattern = fc.array(part, { minLength: 1, maxLength: 7 })
  const name = fc.array(segment, { minLength: 1, maxLength: 7 })
  const runs = { seed: 42, numRuns: 5000 }

  test('finds what the rules say, word for word', () => {
    fc.assert(
      fc.property(pattern, name, (parts, segments) => {
        const { matches } = parseGlob(parts.join('/'))
        expect(matches(segments.join('/'))).toBe(naive(parts, segments))
      }),
      runs,
    )
  })

  test('finds only names that begin with the prefix', () => {
    fc.assert(
      fc.property(pattern, name, (parts, segments) => {
        const glob = parseGlob(parts.join('/'))
        const text = segments.join('/')
        expect(glob.matches(text) && !text.startsWith(glob.prefix)).toBe(false)
      }),
      runs,
    )
  })

  test.each([
    ['**/a/', 'a/'],
    ['**/*/', 'a/'],
    ['*/**/a/', 'a/'],
    ['**/a/a/', 'a/a/'],
  ])('takes no time that grows beyond measure for many of %j', (many, segments) => {
    const { matches } = parseGlob(`${many.repeat(60)}b`)
    const begun = performance.now()
    expect(matches(`${segments.repeat(250)}c`)).toBe(false)
    expect(performance.now() - begun).toBeLessThan(500)
  })

  describe('covers', () => {
    test.each([
      ['**', '**', true],
      ['**', 'a/*', true],
      ['a/**', 'a', true],
      ['a/**', 'a/*/b', true],
      ['a/**', 'a/**', true],
      ['a/**', 'a/b/**', true],
      ['a/**', 'ab/*', false],
      ['a/**', '**', false],
      ['a/**', '*/b', false],
      ['a/*', 'a/b', true],
      ['a/*', 'a/*', true],
      ['a/*', 'a/**', false],
      ['a/*', 'a/*/c', false],
      ['a/b', 'a/b', true],
      ['a/b', 'a/*', false],
      ['a/%2A', 'a/*', false],
      ['a/*', 'a/%2A', true],
    ])('%j, all that is in %j: %j', (one, other, expected) => {
      expect(covers(parseGlob(one), parseGlob(other))).toBe(expected)
    })

    test('is not taken in by the text of a pattern for one name', () => {
      const exact = { pattern: 'a/*', prefix: 'a/*', matches: (name: string) => name === 'a/*' }
      expect(covers(exact, parseGlob('a/*'))).toBe(false)
      expect(covers(exact, parseGlob('a/%2A'))).toBe(true)
    })

    test('never what a name shows to be outside', () => {
      fc.assert(
        fc.property(pattern, pattern, name, (one, other, segments) => {
          const [above, below] = [parseGlob(one.join('/')), parseGlob(other.join('/'))]
          const text = segments.join('/')
          const shown = covers(above, below) && below.matches(text) && !above.matches(text)
          expect(shown).toBe(false)
        }),
        runs,
      )
    })
  })
})
