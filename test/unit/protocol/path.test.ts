import { describe, expect, test } from 'vitest'
import { checkStreamName, parseStreamPath, trimSlashes } from '../../../src/protocol/path.ts'

describe('parseStreamPath', () => {
  test.each([
    ['a', 'a'],
    ['a/b/c', 'a/b/c'],
    ['a%2Fb', 'a/b'],
    ['caf%C3%A9', 'café'],
    ['%F0%9F%98%80', '\u{1f600}'],
    ['a%20b', 'a b'],
    ['100%25', '100%'],
    ['a+b', 'a+b'],
    ['user:1@x,y;z=(~)', 'user:1@x,y;z=(~)'],
    ['...', '...'],
    ['.hidden/..x', '.hidden/..x'],
    ['__dsx', '__dsx'],
    ['a/__ds', 'a/__ds'],
    ['x'.repeat(512), 'x'.repeat(512)],
    ['%C3%A9'.repeat(256), 'é'.repeat(256)],
  ])('reads %j as %j', (raw, name) => {
    expect(parseStreamPath(raw)).toBe(name)
  })

  test.each([
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    'a/../b',
    './a',
    'a/%2e%2E/b',
    'a%2F..',
    '%2Fa',
    'a\\b',
    'a%5Cb',
    '%',
    '%4',
    '%zz',
    '%FF',
    '%C3',
    '%ED%A0%80',
    'caf\u00c3\u00a9',
    'a b',
    'a%00',
    'a%0Ab',
    'a%1F',
    'a%7F',
    'a%C2%80',
    'a%C2%9F',
    'x'.repeat(513),
    '%C3%A9'.repeat(257),
  ])('refuses %j', (raw) => {
    expect(() => parseStreamPath(raw)).toThrow(expect.objectContaining({ code: 'invalid_path' }))
  })

  test.each(['__ds', '__ds/subscriptions/x', '__ds%2Fx', '%5F_ds/x'])('reserves %j', (raw) => {
    expect(() => parseStreamPath(raw)).toThrow(expect.objectContaining({ code: 'reserved_path' }))
  })
})

describe('checkStreamName', () => {
  test.each(['a', 'a/b', 'é'.repeat(256), '\u{1f600}', 'constructor', '__proto__'])(
    'takes %j',
    (name) => {
      expect(checkStreamName(name)).toBe(name)
    },
  )

  test.each([
    '',
    'a//b',
    '/a',
    'a/',
    'a\\b',
    'a\u0000',
    'é'.repeat(257),
    // As UTF-8 each would be U+FFFD, and name another stream.
    'a\ud800',
    '\udc00a',
    'a\udc00\ud800',
    'a/\ud83d/\ude00',
  ])('refuses %j', (name) => {
    expect(() => checkStreamName(name)).toThrow(expect.objectContaining({ code: 'invalid_path' }))
  })
})

describe('trimSlashes', () => {
  test.each([
    ['a', 'a'],
    ['/a/', 'a'],
    ['//a//b/c///', 'a//b/c'],
    ['', ''],
    ['/', ''],
    ['///', ''],
  ])('makes of %j %j', (text, trimmed) => {
    expect(trimSlashes(text)).toBe(trimmed)
  })

  test('takes no time that grows beyond measure for a run of slashes', () => {
    const text = `a${'/'.repeat(1_000_000)}b`
    const begun = performance.now()
    expect(trimSlashes(text)).toBe(text)
    expect(performance.now() - begun).toBeLessThan(500)
  })
})
