import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  formatTraceparent,
  isSampled,
  parseTraceparent,
  traceparentOf,
} from '../../../src/protocol/traceparent.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'
const of = (flags: number) => ({ traceId: TRACE, spanId: SPAN, flags })

/** Of the specification, and of the test suite that W3C has beside it. */
describe('parseTraceparent (Trace Context §3.2)', () => {
  test.each([
    ['sampled', `00-${TRACE}-${SPAN}-01`, of(1)],
    ['not sampled', `00-${TRACE}-${SPAN}-00`, of(0)],
    ['with a random trace id', `00-${TRACE}-${SPAN}-03`, of(3)],
    ['with flags that nobody knows', `00-${TRACE}-${SPAN}-ff`, of(3)],
    ['of a later version', `cc-${TRACE}-${SPAN}-01`, of(1)],
    ['of a later version that has more', `cc-${TRACE}-${SPAN}-01-what-the-future-will-be`, of(1)],
  ])('takes one %s', (_name, header, context) => {
    expect(parseTraceparent(header)).toEqual(context)
  })

  test.each([
    ['nothing', ''],
    ['the version that there will never be', `ff-${TRACE}-${SPAN}-01`],
    ['a version of one digit', `0-${TRACE}-${SPAN}-01`],
    ['a version of three digits', `000-${TRACE}-${SPAN}-01`],
    ['a version that is no number', `.0-${TRACE}-${SPAN}-01`],
    ['more than version 00 has', `00-${TRACE}-${SPAN}-01-what-the-future-will-be`],
    ['a hyphen at the end', `00-${TRACE}-${SPAN}-01-`],
    ['something else than a hyphen behind it', `cc-${TRACE}-${SPAN}-01.what`],
    ['a trace id of zeros', `00-${'0'.repeat(32)}-${SPAN}-01`],
    ['a trace id that is too short', `00-${TRACE.slice(1)}-${SPAN}-01`],
    ['a trace id that is too long', `00-${TRACE}0-${SPAN}-01`],
    ['a trace id in capitals', `00-${TRACE.toUpperCase()}-${SPAN}-01`],
    ['a trace id that is no number', `00-.${TRACE.slice(1)}-${SPAN}-01`],
    ['a parent of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['a parent that is too short', `00-${TRACE}-${SPAN.slice(1)}-01`],
    ['a parent that is too long', `00-${TRACE}-${SPAN}0-01`],
    ['a parent in capitals', `00-${TRACE}-${SPAN.toUpperCase()}-01`],
    ['flags of one digit', `00-${TRACE}-${SPAN}-1`],
    ['flags of three digits', `00-${TRACE}-${SPAN}-001`],
    ['flags in capitals', `00-${TRACE}-${SPAN}-0A`],
    ['no flags', `00-${TRACE}-${SPAN}`],
    ['two that were joined', `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`],
    ['the end of a line behind it', `00-${TRACE}-${SPAN}-01\n`],
    ['lines behind one of a later version', `cc-${TRACE}-${SPAN}-01-a\r\nb: c`],
  ])('takes %s for none', (_name, header) => {
    expect(parseTraceparent(header)).toBeUndefined()
  })

  test('takes nothing for none', () => {
    expect(parseTraceparent(undefined)).toBeUndefined()
  })

  test('gives back what was written, in version 00', () => {
    const hex = (length: number) =>
      fc.string({
        unit: fc.constantFrom(...Array.from({ length: 16 }, (_, digit) => digit.toString(16))),
        minLength: length,
        maxLength: length,
      })
    fc.assert(
      fc.property(hex(31), hex(15), fc.integer({ min: 0, max: 3 }), (trace, span, flags) => {
        const context = { traceId: `1${trace}`, spanId: `1${span}`, flags }
        const text = formatTraceparent(context)
        expect(text).toMatch(/^00-[\da-f]{32}-[\da-f]{16}-0[0-3]$/)
        expect(parseTraceparent(text)).toEqual(context)
        expect(isSampled(context)).toBe(flags % 2 === 1)
      }),
    )
  })
})

describe('traceparentOf', () => {
  test.each([
    ['a valid one', { traceparent: `cc-${TRACE}-${SPAN}-09-more` }, `00-${TRACE}-${SPAN}-01`],
    ['an invalid one', { traceparent: 'x' }, undefined],
    ['several', { traceparent: [`00-${TRACE}-${SPAN}-01`] }, undefined],
    ['none', {}, undefined],
  ])('%s', (_name, headers, traceparent) => {
    expect(traceparentOf(headers)).toBe(traceparent)
  })
})
