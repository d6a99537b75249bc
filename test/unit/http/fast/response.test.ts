import { describe, expect, test } from 'vitest'
import { ResponseHeads } from '../../../../src/http/fast/response.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const KEEP_ALIVE_MS = 5000
const BODY = Buffer.from('x')
const COMMON = { 'cache-control': 'no-store', vary: 'Origin' }

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
      expect(() => heads.whole({ status: 200, headers, body: BODY }, COMMON)).toThrow(refused)
      expect(() => heads.chunked(headers, COMMON)).toThrow(refused)
    }
  })

  test('may have what Node lets pass', () => {
    const heads = new ResponseHeads(new ManualClock(), KEEP_ALIVE_MS)
    const headers = { 'content-type': 'text/plain; charset="\u00e9"' }
    const { head } = heads.whole({ status: 200, headers, body: BODY }, COMMON)
    expect(head.toString('latin1')).toContain('content-type: text/plain; charset="\u00e9"\r\n')
  })

  test('is kept for the same headers, and made anew for others and the next second', () => {
    const clock = new ManualClock()
    const heads = new ResponseHeads(clock, KEEP_ALIVE_MS)
    const own = { 'content-type': 'text/event-stream' }
    const other = { ...COMMON, 'access-control-allow-origin': 'https://a.example' }
    const first = heads.chunked(own, COMMON)
    const second = heads.chunked(own, other)
    expect(heads.chunked(own, COMMON)).toBe(first)
    expect(heads.chunked(own, other)).toBe(second)
    expect(second.toString()).toContain('access-control-allow-origin: https://a.example\r\n')
    expect(first.toString()).not.toContain('access-control')
    expect(heads.chunked({ ...own }, COMMON)).not.toBe(first)
    clock.advance(1000)
    expect(heads.chunked(own, COMMON)).not.toBe(first)
  })

  test('varies with what all answers vary with, and with its own', () => {
    const heads = new ResponseHeads(new ManualClock(), KEEP_ALIVE_MS)
    const headers = { vary: 'Authorization, Cookie' }
    const whole = heads.whole({ status: 200, headers, body: BODY }, COMMON).head.toString()
    const chunked = heads.chunked(headers, COMMON).toString()
    for (const head of [whole, chunked]) {
      expect(head.match(/^vary: .*$/gm)).toEqual(['vary: Authorization, Cookie, Origin'])
    }
  })
})
