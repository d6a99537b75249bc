import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  MAX_TTL_SECONDS,
  expiresAt,
  isExpired,
  parseExpiry,
  sameExpiry,
  touchThresholdMs,
} from '../../../src/protocol/expiry.ts'
import type { Expiry } from '../../../src/protocol/expiry.ts'

const ttl = (value: string) => ({ 'stream-ttl': value })
const at = (value: string) => ({ 'stream-expires-at': value })
const HOUR_MS = 3_600_000

describe('parseExpiry (PROTOCOL §5.1)', () => {
  test.each([
    ['nothing', {}, { kind: 'never' }],
    ['a TTL', ttl('3600'), { kind: 'ttl', seconds: 3600 }],
    ['a TTL of 0', ttl('0'), { kind: 'ttl', seconds: 0 }],
    ['the longest TTL', ttl('3153600000'), { kind: 'ttl', seconds: MAX_TTL_SECONDS }],
  ])('reads %s', (_name, headers, expected) => {
    expect(parseExpiry(headers)).toEqual(expected)
  })

  test.each([
    ['2030-01-02T03:04:05Z', '2030-01-02T03:04:05.000Z'],
    ['2030-01-02t03:04:05z', '2030-01-02T03:04:05.000Z'],
    ['2030-01-02T03:04:05.678Z', '2030-01-02T03:04:05.678Z'],
    ['2030-01-02T03:04:05.6Z', '2030-01-02T03:04:05.600Z'],
    ['2030-01-02T03:04:05.678999999Z', '2030-01-02T03:04:05.678Z'],
    ['2030-01-02T03:04:05+05:30', '2030-01-01T21:34:05.000Z'],
    ['2030-01-02T03:04:05-23:59', '2030-01-03T03:03:05.000Z'],
    ['2030-01-02T03:04:05-00:00', '2030-01-02T03:04:05.000Z'],
    ['2028-02-29T00:00:00Z', '2028-02-29T00:00:00.000Z'],
    ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00.000Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00.000Z'],
    ['9999-12-31T23:59:59Z', '9999-12-31T23:59:59.000Z'],
  ])('reads %s as the instant it names', (text, iso) => {
    expect(parseExpiry(at(text))).toEqual({ kind: 'at', at: Date.parse(iso), text })
  })

  test('reads every instant that Date writes', () => {
    const instants = fc.date({
      min: new Date('0000-01-01T00:00:00Z'),
      max: new Date('9999-12-31T23:59:59.999Z'),
      noInvalidDate: true,
    })
    fc.assert(
      fc.property(instants, (date) => {
        const text = date.toISOString()
        expect(parseExpiry(at(text))).toEqual({ kind: 'at', at: date.getTime(), text })
      }),
    )
  })

  test.each([
    '',
    '+3600',
    '-1',
    '03600',
    '00',
    '3600.0',
    '3.6e3',
    '1e3',
    'abc',
    ' 1',
    '1 ',
    '0x10',
  ])('refuses the TTL %j', (text) => {
    expect(() => parseExpiry(ttl(text))).toThrow(expect.objectContaining({ code: 'invalid_ttl' }))
  })

  test('refuses a TTL of more than 100 years', () => {
    for (const text of ['3153600001', '9'.repeat(400)]) {
      expect(() => parseExpiry(ttl(text))).toThrow(expect.objectContaining({ code: 'invalid_ttl' }))
    }
  })

  test.each([
    '',
    'tomorrow',
    '1893456000',
    '2030-01-02',
    '2030-01-02T03:04Z',
    '2030-01-02T03:04:05',
    '2030-01-02 03:04:05Z',
    '2030-1-2T03:04:05Z',
    '2030-01-02T03:04:05.Z',
    '2030-01-02T03:04:05+0530',
    '2030-01-02T03:04:05+24:00',
    '2030-01-02T24:00:00Z',
    '2030-01-02T03:60:05Z',
    '2030-01-02T03:04:60Z',
    '2030-02-30T00:00:00Z',
    '2030-02-29T00:00:00Z',
    '2100-02-29T00:00:00Z',
    '2030-04-31T00:00:00Z',
    '2030-13-01T00:00:00Z',
    '2030-00-01T00:00:00Z',
    '2030-01-00T00:00:00Z',
    '+002030-01-02T03:04:05Z',
    'Wed, 02 Jan 2030 03:04:05 GMT',
  ])('refuses the instant %j', (text) => {
    expect(() => parseExpiry(at(text))).toThrow(
      expect.objectContaining({ code: 'invalid_expires_at' }),
    )
  })

  test('refuses both headers, whatever they say', () => {
    for (const text of ['2030-01-02T03:04:05Z', 'tomorrow']) {
      expect(() => parseExpiry({ ...ttl('60'), ...at(text) })).toThrow(
        expect.objectContaining({ code: 'conflicting_expiry' }),
      )
    }
  })
})

describe('sameExpiry (PROTOCOL §5.1)', () => {
  const never = parseExpiry({})
  const hour = parseExpiry(ttl('3600'))
  const instant = parseExpiry(at('2030-01-01T00:00:00Z'))

  test.each<[string, Expiry, Expiry, boolean]>([
    ['never', never, parseExpiry({}), true],
    ['equal windows', hour, parseExpiry(ttl('3600')), true],
    ['different windows', hour, parseExpiry(ttl('3601')), false],
    ['one instant in two spellings', instant, parseExpiry(at('2030-01-01T01:00:00.0+01:00')), true],
    ['different instants', instant, parseExpiry(at('2030-01-01T00:00:01Z')), false],
    ['never and a window', never, hour, false],
    ['never and an instant', never, instant, false],
    ['a window and an instant', hour, instant, false],
  ])('compares %s', (_name, a, b, expected) => {
    expect([sameExpiry(a, b), sameExpiry(b, a)]).toEqual([expected, expected])
  })
})

describe('touchThresholdMs', () => {
  test.each([
    [0, 0],
    [1, 100],
    [3600, 360_000],
    [36_000, HOUR_MS],
    [MAX_TTL_SECONDS, HOUR_MS],
  ])('of %d s is %d ms', (seconds, ms) => {
    expect(touchThresholdMs(seconds)).toBe(ms)
  })
})

describe('expiresAt and isExpired', () => {
  const last = 1_700_000_000_000

  test.each<[string, Expiry, number | undefined]>([
    ['never', { kind: 'never' }, undefined],
    [
      'a window and its touch threshold after the last activity',
      { kind: 'ttl', seconds: 10 },
      last + 11_000,
    ],
    ['the instant, whatever the activity', { kind: 'at', at: 5, text: '' }, 5],
  ])('a stream ends %s', (_name, expiry, end) => {
    expect(expiresAt(expiry, last)).toBe(end)
  })

  test('a stream has expired from that moment on', () => {
    const expiry: Expiry = { kind: 'ttl', seconds: 10 }
    const results = [last, last + 10_999, last + 11_000].map((now) => isExpired(expiry, last, now))
    expect(results).toEqual([false, false, true])
    expect(isExpired({ kind: 'never' }, last, Number.MAX_SAFE_INTEGER)).toBe(false)
  })

  test('a stream never expires early, though reads below the threshold are not written down', () => {
    const reads = fc.array(fc.nat(60_000), { maxLength: 50 })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), reads, (seconds, gaps) => {
        const expiry: Expiry = { kind: 'ttl', seconds }
        let [now, lastRead, written] = [0, 0, 0]
        for (const gap of gaps) {
          now += gap
          if (isExpired(expiry, written, now)) {
            expect(now - lastRead).toBeGreaterThanOrEqual(seconds * 1000)
            return
          }
          lastRead = now
          if (now - written >= touchThresholdMs(seconds)) written = now
        }
      }),
    )
  })
})
