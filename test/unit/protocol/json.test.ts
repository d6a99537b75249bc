import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  asJsonMessage,
  countMessages,
  joinMessages,
  messagesIn,
  splitMessages,
} from '../../../src/protocol/json.ts'
import { MAX_JSON_DEPTH } from '../../../src/protocol/json-syntax.ts'

const split = (text: string) =>
  splitMessages(Buffer.from(text)).map((m) => Buffer.from(m).toString())
const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)

/** JSON text as people write it: any whitespace, escapes and numbers JSON.stringify would not. */
const { value: jsonText } = fc.letrec<{ value: string }>((tie) => {
  const space = fc.string({ unit: fc.constantFrom(' ', '\n', '\r', '\t'), maxLength: 2 })
  const literal = fc.oneof(
    fc.constantFrom('null', 'true', '1e400', '-0', '12345678901234567890.10', '"\\u0041\\"\\\\"'),
    fc.constantFrom('"[,]{}"', '"\\\\"', '"\\\\\\","', '"\u2028漢\u{1f600}"', '""'),
    fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
  )
  const list = (item: fc.Arbitrary<string>, [open, close]: [string, string]) =>
    fc
      .tuple(space, fc.array(item, { maxLength: 4 }), space)
      .map(
        ([before, items, after]) =>
          `${open}${before}${items.join(`${after},${before}`)}${after}${close}`,
      )
  const member = fc.tuple(fc.constantFrom('"a"', '"a"', '"]"', '"__proto__"'), space, tie('value'))
  return {
    value: fc.oneof(
      { maxDepth: 5 },
      literal,
      list(tie('value'), ['[', ']']),
      list(
        member.map(([key, gap, value]) => `${key}${gap}:${gap}${value}`),
        ['{', '}'],
      ),
    ),
  }
})

describe('splitMessages (PROTOCOL §9.1)', () => {
  test.each([
    ['one value', '{"event":"created"}', ['{"event":"created"}']],
    ['one level of an array', '[{"event":"a"}, {"event":"b"}]', ['{"event":"a"}', '{"event":"b"}']],
    ['not two levels', '[[1,2], [3,4]]', ['[1,2]', '[3,4]']],
    ['a triple array', '[[[1,2,3]]]', ['[[1,2,3]]']],
    ['no messages', '[]', []],
    ['no messages but spaces', ' [ \r\n\t ] ', []],
    ['an empty array as a message', '[[]]', ['[]']],
    ['scalars', '[1,"a",null,true]', ['1', '"a"', 'null', 'true']],
    ['a scalar alone', ' 42\n', ['42']],
    ['brackets and commas in strings', '["],[",{"}":"\\",\\\\"}]', ['"],["', '{"}":"\\",\\\\"}']],
    ['an array inside an object', '{"a":[1,2]}', ['{"a":[1,2]}']],
  ])('finds %s', (_name, body, messages) => {
    expect(split(body)).toEqual(messages)
  })

  test.each([
    '12345678901234567890',
    '1.10',
    '1E+2',
    '{"b":1,"a":2,"b":3}',
    '"\\u00e9\\/"',
    '{ "a" : [ 1 ,\n2 ] }',
    '"\u2028"',
  ])('keeps the bytes of %s', (message) => {
    expect(split(`[ ${message}\n,\t${message} ]`)).toEqual([message, message])
  })

  test.each([
    ['nothing', ''],
    ['spaces', ' '],
    ['an open object', '{'],
    ['a trailing comma', '[1,]'],
    ['a leading comma', '[,1]'],
    ['a missing element', '[1,,2]'],
    ['two values', '[1] [2]'],
    ['two objects', '{"a":1}{"a":2}'],
    ['single quotes', "{'a':1}"],
    ['the wrong bracket', '[1}'],
    ['an open string', '"a'],
    ['an open escape', '"a\\'],
    ['a raw newline in a string', '"\n"'],
    ['NaN', 'NaN'],
    ['a leading zero', '01'],
    ['a leading zero behind a minus', '-01'],
    ['a minus alone', '-'],
    ['a plus', '+1'],
    ['a point without digits', '1.'],
    ['a point without digits before it', '.5'],
    ['an exponent without digits', '1e'],
    ['a signed exponent without digits', '[1E-]'],
    ['a cut word', '[tru]'],
    ['a word in capitals', 'NULL'],
    ['an unknown escape', '"\\x41"'],
    ['an escape of three digits', '"\\u004"'],
    ['an escape that is not hex', '"\\u00g1"'],
    ['a tab in a string', '["\t"]'],
    ['a name without quotes', '{a:1}'],
    ['a name without a value', '{"a"}'],
    ['a number for a name', '{1:1}'],
    ['a comma behind the last member', '{"a":1,}'],
    ['a value behind the array', '[1]1'],
    ['a comment', '[1/**/]'],
    ['a byte order mark', '\ufeff{}'],
    ['a space JSON does not know', '\u00a01'],
    ['arrays too deep', nested(MAX_JSON_DEPTH + 1)],
    ['objects too deep', `${'{"a":'.repeat(MAX_JSON_DEPTH + 1)}1${'}'.repeat(MAX_JSON_DEPTH + 1)}`],
    ['a flood of brackets', '['.repeat(5_000_000)],
  ])('refuses %s', (_name, body) => {
    expect(() => splitMessages(Buffer.from(body))).toThrow(
      expect.objectContaining({ code: 'invalid_json' }),
    )
  })

  test.each([[[0x22, 0xff, 0x22]], [[0x22, 0xc3, 0x22]], [[0x22, 0xed, 0xa0, 0x80, 0x22]]])(
    'refuses what is not UTF-8: %j',
    (bytes) => {
      expect(() => splitMessages(Uint8Array.from(bytes))).toThrow(
        expect.objectContaining({ code: 'invalid_json' }),
      )
    },
  )

  test('takes what nests as deep as allowed', () => {
    expect(split(nested(MAX_JSON_DEPTH))).toEqual([nested(MAX_JSON_DEPTH - 1)])
  })

  test('refuses more messages than the caller takes', () => {
    const body = Buffer.from('[1,2,3]')
    expect(splitMessages(body, 3)).toHaveLength(3)
    expect(() => splitMessages(body, 2)).toThrow(
      expect.objectContaining({ code: 'too_many_messages' }),
    )
  })

  test('counts them, and makes them one by one, as it splits them', () => {
    fc.assert(
      fc.property(fc.array(jsonText), fc.boolean(), (texts, isBatch) => {
        const body = Buffer.from(isBatch ? `[${texts.join(', ')}]` : (texts[0] ?? '1'))
        const messages = splitMessages(body)
        expect(countMessages(body, Infinity)).toBe(messages.length)
        expect([...messagesIn(body)]).toEqual(messages)
      }),
    )
    const body = Buffer.from('[1,2,3]')
    expect(countMessages(body, 3)).toBe(3)
    expect(() => countMessages(body, 2)).toThrow(
      expect.objectContaining({ code: 'too_many_messages' }),
    )
    expect(() => countMessages(Buffer.from('[1,2'), 9)).toThrow(
      expect.objectContaining({ code: 'invalid_json' }),
    )
  })

  test('copies nothing', () => {
    const body = Buffer.from(' [{"a":1},2] ')
    expect(splitMessages(body).every((message) => message.buffer === body.buffer)).toBe(true)
  })

  test('gives the elements of an array as they were sent', () => {
    fc.assert(
      fc.property(fc.array(jsonText), (messages) => {
        expect(split(` [${messages.join(' ,\n')}] `)).toEqual(messages)
      }),
    )
  })

  test('takes exactly what JSON.parse takes', () => {
    const junk = fc.constantFrom(
      ...['', '"', ',', ':', '[', ']', '{', '}', '\\', '0', '1', '-', '+', '.', 'e', 'E5', 'u00'],
      ...['\t', '\n', ' ', '\u0001', '\u00e9', 'null', 'tru'],
    )
    const broken = fc.tuple(jsonText, fc.nat(), junk)
    fc.assert(
      fc.property(broken, ([text, position, bit]) => {
        const at = position % (text.length + 1)
        const body = text.slice(0, at) + bit + text.slice(at + 1)
        const accepts = (parse: (text: string) => unknown) => {
          try {
            parse(body)
            return true
          } catch {
            return false
          }
        }
        // A lone surrogate, left where a pair was cut, has no bytes.
        fc.pre(Buffer.from(body).toString() === body)
        expect(accepts(split)).toBe(accepts(JSON.parse))
      }),
      { numRuns: 3000 },
    )
  })
})

describe('joinMessages (PROTOCOL §9.1.5)', () => {
  test.each([
    [[], '[]'],
    [['1'], '[1]'],
    [['{"a":1}', '[2]', '"c"'], '[{"a":1},[2],"c"]'],
  ])('joins %j', (messages, expected) => {
    expect(joinMessages(messages.map((m) => Buffer.from(m))).toString()).toBe(expected)
  })

  test('is undone by splitMessages, byte for byte', () => {
    fc.assert(
      fc.property(fc.array(jsonText), (texts) => {
        const messages = texts.map((text) => Buffer.from(text))
        expect(splitMessages(joinMessages(messages)).map((m) => Buffer.from(m))).toEqual(messages)
      }),
    )
  })
})

describe('asJsonMessage', () => {
  test.each(['{"a":1.0}', ' [1] ', '"x"', 'null'])('keeps %j', (text) => {
    const body = Buffer.from(text)
    expect(asJsonMessage(body)).toBe(body)
  })

  test.each([
    ['text', Buffer.from('hello\n"you"'), '"hello\\n\\"you\\""'],
    ['nothing', Buffer.alloc(0), '""'],
    ['two values', Buffer.from('1,2'), '"1,2"'],
    ['an escape from the array', Buffer.from('1],[2'), '"1],[2"'],
    ['bytes', Buffer.from([0x41, 0xff, 0x00]), '"A\ufffd\\u0000"'],
    ['a value too deep', Buffer.from(nested(1001)), `"${nested(1001)}"`],
  ])('makes a string of %s', (_name, body, expected) => {
    expect(Buffer.from(asJsonMessage(body)).toString()).toBe(expected)
  })

  test('makes one valid message of any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (body) => {
        const array: unknown = JSON.parse(joinMessages([asJsonMessage(body)]).toString())
        expect(array).toHaveLength(1)
      }),
    )
  })
})
