import { describe, expect, test } from 'vitest'
import { StreamNames } from '../../../src/protocol/names.ts'
import { ProjectRule } from '../../../src/protocol/project.ts'
import {
  hashOf,
  parseClaim,
  parseLinkPath,
  parseProgress,
  parseRelease,
  parseStreams,
  parseSubscription,
  parseSubscriptionId,
} from '../../../src/subscriptions/requests.ts'
import { at } from './builders.ts'

const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
const NAMES = new StreamNames()
const invalid = expect.objectContaining({ code: 'INVALID_REQUEST' }) as unknown

/** Names that are no stream's, as a body gives them. */
const NO_NAMES = [
  ['nothing', ''],
  ['nothing but slashes', '//'],
  ['an empty segment', 'a//b'],
  ['a dot', 'a/./b'],
  ['two dots', '..'],
  ['a backslash', 'a\\b'],
  ['a control character', 'a\u0000'],
  ['too many bytes', '中'.repeat(171)],
  ['the reserved name', '__ds'],
  ['a reserved name', '/__ds/subscriptions/x'],
  ['half a character', 'a\ud800'],
] as const

describe('where names begin with a project', () => {
  const names = new StreamNames(new ProjectRule('of-'))
  const create = (body: object) => () => parseSubscription(json(body), names)
  const pull = { type: 'pull-wake', streams: ['a-project/a'], wake_stream: 'a-project/wakes' }

  test('streams, patterns and wake streams do, too', () => {
    expect(create({ ...pull, pattern: 'a-project/**' })).not.toThrow()
    expect(create({ ...pull, streams: ['a-project/a', 'a'] })).toThrow(invalid)
    expect(create({ ...pull, wake_stream: 'A-project/wakes' })).toThrow(invalid)
    expect(create({ ...pull, pattern: 'wakes' })).toThrow(invalid)
    expect(() => parseStreams(json({ streams: ['a'] }), names)).toThrow(invalid)
    expect(() => parseLinkPath('a', names)).toThrow(invalid)
  })
})

describe('parseSubscription', () => {
  const webhook = { type: 'webhook', pattern: 'events/*', webhook: { url: 'https://w.example/' } }
  const pull = { type: 'pull-wake', streams: ['a'], wake_stream: 'wake/pool' }
  const parse = (body: object) => parseSubscription(json(body), NAMES)

  test('reads all there is to say of a webhook', () => {
    const body = { ...webhook, streams: ['a'], lease_ttl_ms: 5000, description: 'd', more: 1 }
    expect(parse(body)).toEqual({
      type: 'webhook',
      pattern: 'events/*',
      streams: ['a'],
      webhookUrl: 'https://w.example/',
      leaseTtlMs: 5000,
      description: 'd',
    })
  })

  test('reads the least there is to say of a pull-wake, and leases for 30 s', () => {
    expect(parse(pull)).toEqual({
      type: 'pull-wake',
      streams: ['a'],
      wakeStream: 'wake/pool',
      leaseTtlMs: 30_000,
    })
  })

  test('takes null for what is not said', () => {
    const nothing = { pattern: null, description: null }
    expect(parse({ ...pull, ...nothing, webhook: null })).toEqual(parse(pull))
    expect(parse({ ...webhook, description: null, wake_stream: null })).toEqual(parse(webhook))
  })

  test('takes the request that PROTOCOL §6.2 shows', () => {
    const body = {
      type: 'webhook',
      pattern: 'events/*',
      streams: ['events/manual-a', 'events/manual-b'],
      webhook: { url: 'https://worker.example/hooks' },
      wake_stream: 'wake/pool',
      lease_ttl_ms: 30000,
      description: 'event processor',
    }
    expect(parse(body)).toMatchObject({ type: 'webhook', pattern: 'events/*', leaseTtlMs: 30_000 })
    expect(parse(body)).not.toHaveProperty('wakeStream')
  })

  test('ignores what only the other type needs, whatever it is', () => {
    expect(parse({ ...webhook, wake_stream: '__ds//..' })).toEqual(parse(webhook))
    expect(parse({ ...pull, webhook: { url: '' } })).toEqual(parse(pull))
    expect(parse({ ...pull, webhook: 'none' })).toEqual(parse(pull))
  })

  test.each([
    ['the shortest lease', { lease_ttl_ms: 1000 }],
    ['the longest lease', { lease_ttl_ms: 600_000 }],
    ['the longest description', { description: 'x'.repeat(1000) }],
    ['an empty description', { description: '' }],
    ['a pattern and no streams', { streams: [] }],
    ['a stream name of 512 bytes', { streams: ['é'.repeat(256)] }],
    ['a stream name of 512 bytes between slashes', { streams: [`//${'x'.repeat(512)}//`] }],
    ['a pattern of 512 bytes between slashes', { pattern: `/${'é'.repeat(256)}/` }],
  ])('takes %s', (_name, more) => {
    expect(() => parse({ ...webhook, ...more })).not.toThrow()
  })

  test.each([
    ['no type', { type: undefined }],
    ['another type', { type: 'push' }],
    ['neither pattern nor streams', { pattern: undefined }],
    ['no pattern and no stream', { pattern: null, streams: [] }],
    ['a webhook without a URL', { webhook: {} }],
    ['a webhook with an empty URL', { webhook: { url: '' } }],
    ['a webhook whose URL is no text', { webhook: { url: 1 } }],
    ['no webhook', { webhook: undefined }],
    ['a lease of less than 1 s', { lease_ttl_ms: 999 }],
    ['a lease of more than 10 min', { lease_ttl_ms: 600_001 }],
    ['a lease of half a millisecond', { lease_ttl_ms: 1000.5 }],
    ['a lease in words', { lease_ttl_ms: '5000' }],
    ['a description that is too long', { description: 'x'.repeat(1001) }],
    ['a description that is no text', { description: {} }],
    ['an empty pattern', { pattern: '' }],
    ['a pattern with half a wildcard', { pattern: 'a*' }],
    ['a pattern with an empty segment', { pattern: 'a//*' }],
    ['a pattern that is no text', { pattern: ['a'] }],
    ['a pattern that is too long', { pattern: 'x'.repeat(513) }],
    ['a pattern longer in bytes than any name', { pattern: 'é'.repeat(512) }],
    ['a pattern with a control character', { pattern: 'a\u0000/*' }],
    ['a pattern with half a character', { pattern: 'a\ud800/*' }],
    ['a pattern full of slashes', { pattern: `a${'/'.repeat(50_000)}b` }],
    ['a stream among more slashes than anybody means', { streams: [`${'/'.repeat(600)}a`] }],
    ['streams that are no list', { streams: 'a' }],
    ['a stream that is no text', { streams: [1] }],
  ])('refuses %s', (_name, more) => {
    expect(() => parse({ ...webhook, ...more })).toThrow(invalid)
  })

  test.each([
    ['no wake stream', { wake_stream: undefined }],
    ['a wake stream of null', { wake_stream: null }],
    ['a wake stream that is no text', { wake_stream: 1 }],
  ])('refuses a pull-wake with %s', (_name, more) => {
    expect(() => parse({ ...pull, ...more })).toThrow(invalid)
  })

  test.each(NO_NAMES)('refuses %s for a stream, and for a wake stream', (_name, name) => {
    expect(() => parse({ ...pull, streams: [name] })).toThrow(invalid)
    expect(() => parse({ ...pull, wake_stream: name })).toThrow(invalid)
  })

  test.each(['', '{', '[]', 'null', '"webhook"', '1'])('refuses the body %j', (body) => {
    expect(() => parseSubscription(Buffer.from(body), NAMES)).toThrow(invalid)
  })

  describe('and hashOf', () => {
    const full = {
      type: 'webhook',
      pattern: 'events/*',
      streams: ['a', 'b/c'],
      webhook: { url: 'https://w.example/' },
      lease_ttl_ms: 30_000,
      description: 'd',
    }
    const hash = (body: object) => hashOf(parse(body))

    test.each([
      ['streams in another order', { streams: ['b/c', 'a'] }],
      ['a stream named twice', { streams: ['a', 'b/c', 'a'] }],
      ['slashes around streams', { streams: ['/a/', '//b/c'] }],
      ['slashes around the pattern', { pattern: '/events/*/' }],
      ['the default lease left out', { lease_ttl_ms: undefined }],
      ['a field that means nothing', { more: 1 }],
      ['a wake stream, which a webhook has none of', { wake_stream: 'wake/pool' }],
    ])('find the same in %s', (_name, more) => {
      expect(hash({ ...full, ...more })).toBe(hash(full))
    })

    test.each([
      ['pattern', { pattern: 'events/**' }],
      ['pattern left out', { pattern: undefined }],
      ['stream', { streams: ['a', 'b'] }],
      ['cut of streams', { streams: ['a', 'b', 'c'] }],
      ['webhook', { webhook: { url: 'https://w.example/2' } }],
      ['delivery', { type: 'pull-wake', wake_stream: 'w', webhook: undefined }],
      ['lease', { lease_ttl_ms: 30_001 }],
      ['description', { description: 'e' }],
      ['description left out', { description: undefined }],
    ])('tell another %s', (_name, more) => {
      expect(hash({ ...full, ...more })).not.toBe(hash(full))
    })

    test('find the same in a pull-wake with a webhook, which it has none of', () => {
      expect(hash({ ...pull, webhook: { url: 'https://w.example/' } })).toBe(hash(pull))
    })

    test('tell another wake stream', () => {
      expect(hash({ ...pull, wake_stream: 'wake/other' })).not.toBe(hash(pull))
    })

    test('tell a pattern from a stream of the same name', () => {
      const { pattern: _, ...rest } = full
      expect(hash({ ...rest, streams: ['a'] })).not.toBe(
        hash({ ...rest, pattern: 'a', streams: [] }),
      )
    })
  })
})

describe('parseSubscriptionId', () => {
  test.each([
    ['sub-1', 'sub-1'],
    ['a%2Fb', 'a/b'],
    ['caf%C3%A9', 'café'],
    ['a%20b', 'a b'],
    ['x'.repeat(400), 'x'.repeat(400)],
    ['%E4%B8%AD'.repeat(44), '中'.repeat(44)],
    ['...', '...'],
    ['.a', '.a'],
    ['%2E%2Fa', './a'],
  ])('reads %j as %j', (segment, id) => {
    expect(parseSubscriptionId(segment)).toBe(id)
  })

  test.each([
    '',
    '%',
    '%zz',
    '%FF',
    'a%00',
    'a%0A',
    '%C2%9F',
    '.',
    '..',
    '%2e',
    '.%2E',
    'x'.repeat(401),
    '%E4%B8%AD'.repeat(45),
  ])('refuses %j', (segment) => {
    expect(() => parseSubscriptionId(segment)).toThrow(invalid)
  })
})

describe('parseStreams', () => {
  const parse = (body: unknown) => parseStreams(json(body), NAMES)

  test('reads each stream once, without the slashes around it', () => {
    expect(parse({ streams: ['/b/', 'a', 'b', 'c/d'] })).toEqual(['b', 'a', 'c/d'])
  })

  test.each<readonly [string, unknown]>([
    ['no streams', {}],
    ['an empty list', { streams: [] }],
    ['something else', { streams: [null] }],
    ['no object', 'a'],
    ...NO_NAMES.map(([name, stream]) => [name, { streams: ['a', stream] }] as const),
  ])('refuses %s', (_name, body) => {
    expect(() => parse(body)).toThrow(invalid)
  })

  test('takes no time that grows beyond measure for a name full of slashes', () => {
    const begun = performance.now()
    expect(() => parse({ streams: [`a${'/'.repeat(50_000)}b`] })).toThrow(invalid)
    expect(performance.now() - begun).toBeLessThan(500)
  })
})

describe('parseLinkPath', () => {
  test.each([
    ['a', 'a'],
    ['a/b', 'a/b'],
    ['a%2Fb', 'a/b'],
    ['/a%20b/', 'a b'],
    ['%E4%B8%AD', '中'],
  ])('reads %j as %j', (raw, path) => {
    expect(parseLinkPath(raw, NAMES)).toBe(path)
  })

  test.each(['', '%2F', 'a//b', '%2E%2E', '__ds/x', '%5F%5Fds', '%', '%FF', 'a%00', 'a%5Cb'])(
    'refuses %j',
    (raw) => {
      expect(() => parseLinkPath(raw, NAMES)).toThrow(invalid)
    },
  )
})

describe('parseClaim', () => {
  test('reads who claims', () => {
    expect(parseClaim(json({ worker: 'worker-1', more: true }))).toBe('worker-1')
    expect(parseClaim(json({ worker: 'x'.repeat(200) }))).toHaveLength(200)
  })

  test.each([[{}], [{ worker: '' }], [{ worker: 1 }], [{ worker: 'x'.repeat(201) }], [[]]])(
    'refuses %j',
    (body) => {
      expect(() => parseClaim(json(body))).toThrow(invalid)
    },
  )
})

describe('parseProgress', () => {
  const wake = { wake_id: 'w1', generation: 7 }
  const parse = (body: object) => parseProgress(json({ ...wake, ...body }))

  test('reads a heartbeat', () => {
    expect(parse({})).toEqual({ wakeId: 'w1', generation: 7, acks: new Map(), done: false })
  })

  test('reads acks, and that all is done', () => {
    const acks = [
      { stream: '/a/', offset: at(3) },
      { stream: 'constructor', offset: at(4) },
      { stream: '__proto__', offset: at(5) },
    ]
    expect(parse({ acks, done: true })).toEqual({
      wakeId: 'w1',
      generation: 7,
      acks: new Map([
        ['a', at(3)],
        ['constructor', at(4)],
        ['__proto__', at(5)],
      ]),
      done: true,
    })
  })

  test.each([
    ['the further one last', [3, 9]],
    ['the further one first', [9, 3]],
  ])('acks a stream that is named twice up to the further offset: %s', (_name, seqNums) => {
    const acks = seqNums.map((seqNum) => ({ stream: 'a', offset: at(seqNum) }))
    expect(parse({ acks }).acks).toEqual(new Map([['a', at(9)]]))
  })

  test.each(['-1', 'now', '', '5', 'x', at(3).slice(1), `${at(3)}0`, '9'.repeat(16)])(
    'refuses the offset %j, which nobody was told',
    (offset) => {
      const code = expect.objectContaining({ code: 'INVALID_OFFSET' }) as unknown
      expect(() => parse({ acks: [{ stream: 'a', offset }] })).toThrow(code)
    },
  )

  test.each([
    ['no wake', { wake_id: undefined }],
    ['a wake that is no text', { wake_id: 7 }],
    ['no generation', { generation: undefined }],
    ['a generation in words', { generation: '7' }],
    ['a negative generation', { generation: -1 }],
    ['half a generation', { generation: 7.5 }],
    ['acks that are no list', { acks: { a: at(1) } }],
    ['an ack without a stream', { acks: [{ offset: at(1) }] }],
    ['an ack without an offset', { acks: [{ stream: 'a' }] }],
    ['an ack of a reserved name', { acks: [{ stream: '__ds/x', offset: at(1) }] }],
    ['a done that is no boolean', { done: 'true' }],
    ['too many acks', { acks: Array(1001).fill({ stream: 'a', offset: at(1) }) }],
  ])('refuses %s', (_name, body) => {
    expect(() => parse(body)).toThrow(invalid)
  })

  test('takes as many acks as one wake has streams, twice', () => {
    const acks = Array.from({ length: 1000 }, (_, n) => ({ stream: `s${n}`, offset: at(1) }))
    expect(parse({ acks }).acks.size).toBe(1000)
  })
})

describe('parseRelease', () => {
  test('reads which wake is given up', () => {
    expect(parseRelease(json({ wake_id: 'w1', generation: 7 }))).toEqual({
      wakeId: 'w1',
      generation: 7,
    })
  })

  test.each([[{}], [{ wake_id: 'w1' }], [{ generation: 1 }], [{ wake_id: 'w1', generation: 0.5 }]])(
    'refuses %j',
    (body) => {
      expect(() => parseRelease(json(body))).toThrow(invalid)
    },
  )
})
