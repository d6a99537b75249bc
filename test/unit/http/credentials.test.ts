import { describe, expect, test } from 'vitest'
import { bearerOf, cookieOf } from '../../../src/http/credentials.ts'

describe('bearerOf (RFC 6750 §2.1, RFC 9110 §11.1)', () => {
  test.each([
    ['Bearer abc', 'abc'],
    ['bearer abc', 'abc'],
    ['BEARER   a.b-c_d~e+f/g==', 'a.b-c_d~e+f/g=='],
    ['Bearer abc  ', 'abc'],
  ])('finds the token in %j', (header, token) => {
    expect(bearerOf(header)).toBe(token)
  })

  test.each([
    'Bearer',
    'Bearer ',
    'Bearer a b',
    'Bearer a,b',
    'Bearer a=b',
    'Bearer "a"',
    'Bearer é',
  ])('takes %j for a malformed one, not for none', (header) => {
    expect(bearerOf(header)).toBe('')
  })

  test.each(['', 'Basic dTpw', 'Bearerabc', 'Digest Bearer abc'])(
    'leaves %j to whom it is meant for',
    (header) => {
      expect(bearerOf(header)).toBeUndefined()
    },
  )
})

describe('cookieOf (RFC 6265 §5.4)', () => {
  test.each([
    ['t=1', '1'],
    ['a=0; t=1; b=2', '1'],
    ['a=0;t=1', '1'],
    [' t = 1 ', '1'],
    ['t=1; t=2', '1'],
    ['t=', ''],
    ['t=a=b', 'a=b'],
    ['a=t=1', undefined],
    ['tt=1', undefined],
    ['T=1', undefined],
    ['t', undefined],
    ['', undefined],
  ])('of %j', (header, value) => {
    expect(cookieOf(header, 't')).toBe(value)
  })
})
