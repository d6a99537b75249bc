import { describe, expect, test } from 'vitest'
import { ResponseHeads } from '../../../../src/http/fast/response.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const KEEP_ALIVE_MS = 5000
const BODY = Buffer.from('x')

describe('a head of the fast lane', () => {
  test.each([
    ['ends its line', 'text/plain\r\nset-cookie: a=b'],
    ['ends its line once it is latin1', 'text/plain\u010d\u010aset-cookie: a=b'],
    ['has a control character', 'text/plain\u0000'],
  ])('is refused where a value %s, as by Node', (_what, value) => {
    const heads = new ResponseHeads(new ManualClock(), KEEP_ALIVE_MS)
    const headers = { 'content-type': value }
    const refused = expect.objectContaining({ code: 'ERR_INVALID_CHAR' }) as Error
    // Twice: what is refused is not kept.
    for (let attempt = 0; attempt < 2; attempt += 1) {
      expect(() => heads.whole({ status: 200, headers, body: BODY })).toThrow(refused)
      expect(() => heads.chunked(headers)).toThrow(refused)
    }
  })

  test('may have what Node lets pass', () => {
    const heads = new ResponseHeads(new ManualClock(), KEEP_ALIVE_MS)
    const headers = { 'content-type': 'text/plain; charset="\u00e9"' }
    const { head } = heads.whole({ status: 200, headers, body: BODY })
    expect(head.toString('latin1')).toContain('content-type: text/plain; charset="\u00e9"\r\n')
  })
})
