import { describe, expect, test } from 'vitest'
import { parseCreate } from '../../../src/protocol/requests.ts'

const NO_BODY = new Uint8Array(0)

describe('parseCreate', () => {
  test('reads a PUT without headers as an open, private stream of no said type', () => {
    expect(parseCreate({}, NO_BODY)).toEqual({
      contentType: undefined,
      expiry: { kind: 'never' },
      body: NO_BODY,
      close: false,
      isPublic: false,
      fork: undefined,
    })
  })

  test('reads who may read the stream', () => {
    expect(parseCreate({ 'stream-public': 'True' }, NO_BODY)).toMatchObject({ isPublic: true })
    expect(() => parseCreate({ 'stream-public': '1' }, NO_BODY)).toThrow(
      expect.objectContaining({ code: 'invalid_header' }),
    )
  })
})
