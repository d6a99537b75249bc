import { describe, expect, test } from 'vitest'
import {
  essence,
  isJson,
  parseContentType,
  sameContentType,
  sseEncoding,
} from '../../../src/protocol/content-type.ts'

describe('parseContentType', () => {
  test.each([
    ['text/plain', 'text/plain'],
    ['Text/PLAIN', 'Text/PLAIN'],
    ['  application/json  ', 'application/json'],
    ['application/json; charset=utf-8', 'application/json; charset=utf-8'],
    ['text/plain;charset=UTF-8;format=flowed', 'text/plain;charset=UTF-8;format=flowed'],
    ['text/plain ; a="b; \\" c" ; d=e', 'text/plain ; a="b; \\" c" ; d=e'],
    ['text/plain;', 'text/plain;'],
    ['text/plain; ;a=b', 'text/plain; ;a=b'],
    ['application/vnd.api+json', 'application/vnd.api+json'],
    [`text/${'x'.repeat(251)}`, `text/${'x'.repeat(251)}`],
  ])('takes %j', (given, expected) => {
    expect(parseContentType(given)).toBe(expected)
  })

  test.each([
    '',
    ' ',
    'text',
    'text/',
    '/plain',
    'text/plain/x',
    'text /plain',
    'text/plain charset=utf-8',
    'text/plain; charset',
    'text/plain; charset=',
    'text/plain; charset =utf-8',
    'text/plain; a="b',
    'text/plain; a="b" c',
    'text/plain, text/html',
    'text/plain\r\nx: y',
    'text/plain; a="\u0000"',
    'text/plän',
    `text/${'x'.repeat(252)}`,
  ])('refuses %j', (given) => {
    expect(() => parseContentType(given)).toThrow(
      expect.objectContaining({ code: 'invalid_content_type' }),
    )
  })

  test('refuses hostile spacing without delay', () => {
    const started = performance.now()
    expect(() => parseContentType(`a/b${';  '.repeat(84)}(`)).toThrow()
    expect(performance.now() - started).toBeLessThan(1_000)
  })
})

describe('essence', () => {
  test.each([
    ['text/plain', 'text/plain'],
    ['Application/JSON ; charset=utf-8', 'application/json'],
  ])('of %j is %j', (given, expected) => {
    expect(essence(given)).toBe(expected)
  })
})

describe('sameContentType (PROTOCOL §5.1, §5.2)', () => {
  test.each([
    ['text/plain', 'TEXT/Plain', true],
    ['application/json', 'application/json; charset=utf-8', true],
    ['text/plain;charset=UTF-8', 'text/plain; charset=latin1', true],
    ['text/plain', 'application/json', false],
    ['application/json', 'application/ndjson', false],
  ])('%j and %j: %j', (a, b, expected) => {
    expect([sameContentType(a, b), sameContentType(b, a)]).toEqual([expected, expected])
  })
})

describe('isJson and sseEncoding (PROTOCOL §5.8, §9.1)', () => {
  test.each([
    ['application/json', true, 'text'],
    ['Application/Json; charset=utf-8', true, 'text'],
    ['text/plain', false, 'text'],
    ['TEXT/event-stream', false, 'text'],
    ['application/ndjson', false, 'base64'],
    ['application/vnd.api+json', false, 'base64'],
    ['application/octet-stream', false, 'base64'],
    ['image/png', false, 'base64'],
    ['application/x-text/', false, 'base64'],
  ])('%j: JSON mode %j, carried as %s', (contentType, json, encoding) => {
    expect([isJson(contentType), sseEncoding(contentType)]).toEqual([json, encoding])
  })
})
