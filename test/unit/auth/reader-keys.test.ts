import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ReaderKeys } from '../../../src/auth/reader-keys.ts'

const SECRET = 'a secret that gateways share: 32 or more bytes'
const OTHER_SECRET = 'another secret that gateways share, as long'
const of = (secrets: string[], epoch = 0) => new ReaderKeys({ secrets, epoch })
const keyOf = (keys: ReaderKeys, name = 'acme/a', incarnation = 'i1') =>
  keys.keyOf(name, incarnation) ?? ''

describe('a reader key', () => {
  test('is the same at every gateway, and can stand in a URL as it is', () => {
    expect(keyOf(of([SECRET]))).toBe(keyOf(of([SECRET])))
    expect(keyOf(of([SECRET]))).toMatch(/^rk_[\w-]{43}$/)
  })

  test.each<[string, ReaderKeys, boolean]>([
    ['another gateway', of([SECRET]), true],
    ['one with a newer secret besides', of([OTHER_SECRET, SECRET]), true],
    ['one with other secrets', of([OTHER_SECRET]), false],
    ['one of another epoch', of([SECRET], 1), false],
    ['one without secrets', of([]), false],
  ])('matches at %s: %s', (_name, keys, matches) => {
    expect(keys.matches(keyOf(of([SECRET])), 'acme/a', 'i1')).toBe(matches)
  })

  test('is made with the first secret', () => {
    expect(keyOf(of([SECRET, OTHER_SECRET]))).toBe(keyOf(of([SECRET])))
  })

  test('is not to be had without a secret', () => {
    expect(of([]).keyOf('a', 'i')).toBeUndefined()
  })

  test('belongs to one life of one stream', () => {
    const keys = of([SECRET])
    const text = fc.string({ minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(text, text, text, text, (name, incarnation, otherName, otherIncarnation) => {
        const isSame = name === otherName && incarnation === otherIncarnation
        const key = keyOf(keys, name, incarnation)
        expect(keys.matches(key, otherName, otherIncarnation)).toBe(isSame)
      }),
    )
    // Where one part ends and the next begins counts.
    expect(keyOf(keys, 'ab', 'c')).not.toBe(keyOf(keys, 'a', 'bc'))
    expect(keyOf(keys, 'a","b', 'c')).not.toBe(keyOf(keys, 'a', 'b","c'))
  })

  test.each(['', 'rk_', 'rk_é', 'x'.repeat(46), 'rk_' + 'A'.repeat(43), 'a'.repeat(100_000)])(
    'is not %.50s',
    (given) => {
      expect(of([SECRET]).matches(given, 'acme/a', 'i1')).toBe(false)
    },
  )

  test('is compared as a text, so that each has one URL', () => {
    const keys = of([SECRET])
    const key = keyOf(keys)
    const wrong = [key.toUpperCase(), `${key}=`, ` ${key}`, key.slice(3), key.slice(0, -1)]
    expect(wrong.map((one) => keys.matches(one, 'acme/a', 'i1'))).toEqual(wrong.map(() => false))
  })
})
