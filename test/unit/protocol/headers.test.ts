import { describe, expect, test } from 'vitest'
import * as names from '../../../src/protocol/headers.ts'
import {
  parseStreamClosed,
  parseStreamPublic,
  singleHeader,
} from '../../../src/protocol/headers.ts'

describe('singleHeader', () => {
  test.each([
    ['a value, by any spelling of the name', { 'stream-ttl': '60' }, '60'],
    ['an empty value', { 'stream-ttl': '' }, ''],
    ['nothing where the header is absent', {}, undefined],
  ])('reads %s', (_name, headers, value) => {
    expect(singleHeader(headers, 'Stream-TTL')).toBe(value)
  })

  test('refuses a header given twice', () => {
    expect(() => singleHeader({ 'stream-ttl': ['1', '1'] }, 'Stream-TTL')).toThrow(
      expect.objectContaining({ code: 'invalid_header' }),
    )
  })
})

describe('parseStreamClosed (PROTOCOL §4.1)', () => {
  test.each(['true', 'TRUE', 'True', 'tRuE'])('takes %j for closed', (value) => {
    expect(parseStreamClosed({ 'stream-closed': value })).toBe(true)
  })

  test.each([undefined, '', 'false', '1', 'yes', 'truee', ' true', 'true, true', ['true', 'true']])(
    'takes %j for absent',
    (value) => {
      expect(parseStreamClosed({ 'stream-closed': value })).toBe(false)
    },
  )
})

describe('parseStreamPublic', () => {
  test.each<[string | undefined, boolean]>([
    [undefined, false],
    ['true', true],
    ['TRUE', true],
    ['tRuE', true],
    ['false', false],
    ['False', false],
  ])('takes %j for %j', (value, isPublic) => {
    expect(parseStreamPublic({ 'stream-public': value })).toBe(isPublic)
  })

  test.each(['', '1', 'yes', 'truee', ' true', 'true, true', 'true,false', ['true', 'true']])(
    'refuses %j',
    (value) => {
      expect(() => parseStreamPublic({ 'stream-public': value })).toThrow(
        expect.objectContaining({ code: 'invalid_header' }),
      )
    },
  )
})

test('the names of headers are distinct without regard to case', () => {
  const all = Object.values(names)
    .filter((value) => typeof value === 'string')
    .map((name) => name.toLowerCase())
  expect(new Set(all).size).toBe(all.length)
})
