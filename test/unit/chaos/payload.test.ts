/** Texts that tell whether they are whole. */
import { describe, expect, test } from 'vitest'
import { TornTextError, decodeBody, encodeAppend } from '../../chaos/payload.ts'

const APPEND = { id: 'w:0:7:1', count: 2, padding: 10 }
const IDS = ['w:0:7:1:0/2', 'w:0:7:1:1/2']

describe.each(['text/plain', 'application/json'])('in %s', (contentType) => {
  const body = encodeAppend('s', contentType, APPEND).toString()

  test('what was written is read', () => {
    expect(decodeBody('s', contentType, body)).toEqual(IDS)
    expect(decodeBody('s', contentType, '')).toEqual([])
  })

  test('a changed byte is seen', () => {
    const changed = body.replace('..........', '....,.....')
    expect(() => decodeBody('s', contentType, changed)).toThrow(TornTextError)
  })

  test('missing bytes are seen', () => {
    const shorter = body.replace('..........', '........')
    expect(() => decodeBody('s', contentType, shorter)).toThrow(TornTextError)
  })

  test("another stream's text is seen", () => {
    expect(() => decodeBody('t', contentType, body)).toThrow(TornTextError)
  })
})

test('bytes that end inside a text may go on', () => {
  const body = encodeAppend('s', 'text/plain', APPEND).toString()
  expect(decodeBody('s', 'text/plain', body.slice(0, -3))).toBeUndefined()
})
