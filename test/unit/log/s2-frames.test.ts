import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
// As the SDK writes them: not exported, and so by its path.
import { frameMessage } from '../../../node_modules/@s2-dev/streamstore/dist/esm/lib/stream/transport/s2s/framing.js'
import { FrameParser, type Frame } from '../../../src/log/s2-frames.ts'

const hex = (text: string): Buffer => Buffer.from(text, 'hex')

/** What the parser makes of bytes that come in these pieces. */
function parse(...chunks: Uint8Array[]): Frame[] {
  const parser = new FrameParser()
  const frames = chunks.flatMap((chunk) => [...parser.push(chunk)])
  expect(parser.isInside).toBe(false)
  return frames
}

const message = (body: string, isReconnectAdvised = false): Frame => ({
  kind: 'message',
  body: hex(body),
  isReconnectAdvised,
})

describe('FrameParser', () => {
  test.each([
    ['a heartbeat', '0000080012050807' + '10e807', [message('1205080710e807')]],
    ['a batch of nothing', '00000100', [message('')]],
    ['one that advises to reconnect', '00000210aa', [message('aa', true)]],
    ['one with flags of a later version', '0000020faa', [message('aa')]],
    ['the last one', '0000058001a07b7d', [{ kind: 'terminal', status: 416, body: hex('7b7d') }]],
    ['the last one, clean', '0000038000c8', [{ kind: 'terminal', status: 200, body: hex('') }]],
    ['several', '00000200aa' + '00000100' + '00000200bb', ['aa', '', 'bb'].map((b) => message(b))],
  ])('reads %s, cut anywhere', (_what, text, frames) => {
    const bytes = hex(text)
    expect(parse(bytes)).toEqual(frames)
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      expect(parse(bytes.subarray(0, cut), bytes.subarray(cut))).toEqual(frames)
    }
    expect(parse(...[...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(frames)
  })

  test('reads what the SDK writes, however it is cut', () => {
    const bodies = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 })
    const lengths = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 })
    fc.assert(
      fc.property(bodies, lengths, (written, cuts) => {
        const bytes = Buffer.concat(written.map((body) => frameMessage({ terminal: false, body })))
        const chunks: Buffer[] = []
        for (let at = 0, n = 0; at < bytes.length; n += 1) {
          const end = at + cuts[n % cuts.length]!
          chunks.push(bytes.subarray(at, end))
          at = end
        }
        const read = parse(...chunks).map(({ body }) => new Uint8Array(body))
        expect(read).toEqual(written)
      }),
    )
  })

  test('gives each body memory of its own, and no more than it takes', () => {
    const chunk = Buffer.concat([hex('00000300aabb'), hex('00000200cc'), Buffer.alloc(60_000)])
    const parser = new FrameParser()
    const frames = parser.push(chunk)
    const bodies = [frames.next().value!.body, frames.next().value!.body]
    expect(bodies.map(({ buffer }) => buffer.byteLength)).toEqual([2, 1])
    chunk.fill(0)
    expect(bodies).toEqual([hex('aabb'), hex('cc')])
  })

  test('says whether it is inside a frame', () => {
    const parser = new FrameParser()
    const states = [...hex('00000300aabb')].map((byte) => {
      expect([...parser.push(Uint8Array.of(byte))].length).toBe(byte === 0xbb ? 1 : 0)
      return parser.isInside
    })
    expect(states).toEqual([true, true, true, true, true, false])
  })

  test('takes the largest frame there may be, and no larger one', () => {
    const body = Buffer.alloc(0x20_00_00 - 1, 7)
    const [frame] = parse(hex('20000000'), body)
    expect(frame?.body.equals(body)).toBe(true)
    expect(() => parse(hex('20000100'))).toThrow('too long')
  })

  test.each([
    ['without flags', '00000000', 'flags'],
    ['that is compressed', '00000220aa', 'compressed'],
    ['that is compressed otherwise', '00000240aa', 'compressed'],
    ['that is the last and has no status', '0000028001', 'status'],
  ])('refuses a frame %s, after those before it', (_what, text, problem) => {
    const frames: Frame[] = []
    expect(() => {
      for (const frame of new FrameParser().push(hex('00000200aa' + text))) frames.push(frame)
    }).toThrow(problem)
    expect(frames).toEqual([message('aa')])
  })
})
