import { describe, expect, test } from 'vitest'
import type { BatchDelivery, HubObserver, ReaderTally } from '../../../src/hub/hub-observer.ts'
import { STREAM, Witness, data, group, startHub, touch } from './fakes.ts'
import type { Scene } from './fakes.ts'

/** A hub, and all that its observer hears. */
function observed(): Scene & { readonly heard: BatchDelivery[] } {
  const heard: BatchDelivery[] = []
  const observer: HubObserver = { onBatch: (delivery) => heard.push(delivery) }
  return { ...startHub({}, { observer }), heard }
}

/** A reader who is sent every batch, as events or as one answer. */
function reader({ hub }: Scene, transport: 'sse' | 'long-poll'): Witness {
  let position = STREAM.dataTail
  const taking: Witness = new Witness(() => {
    const next = hub.next(position)
    if (next.kind !== 'batch') return
    position = next.batch.end
    if (transport === 'sse') hub.frames.event(next.batch, next)
    else {
      hub.frames.body(next.batch.records)
      hub.remove(taking)
    }
  }, transport)
  return taking
}

describe('onBatch', () => {
  test('is called once per batch, however many readers there are', () => {
    const scene = observed()
    for (let count = 0; count < 1000; count += 1) scene.hub.add(reader(scene, 'sse'))
    for (let count = 0; count < 10; count += 1) scene.hub.add(reader(scene, 'long-poll'))
    scene.log.last.give(data(11), data(12))
    scene.log.last.give(data(13))
    expect(scene.heard.map(({ readers, bytes }) => [readers, bytes])).toEqual([
      [1010, 6],
      // A poll has had its answer.
      [1000, 3],
    ])
  })

  test('says what all readers together are sent: events to some, a body to others', () => {
    const scene = observed()
    for (const transport of ['sse', 'sse', 'long-poll'] as const) {
      scene.hub.add(reader(scene, transport))
    }
    scene.log.last.give(data(11))
    const progress = { end: 12, upToDate: true, closed: false }
    const { chunk } = scene.hub.frames.event({ records: batchAt(scene, 10), end: 12 }, progress)
    expect(scene.heard[0]?.sentBytes).toBe(2 * chunk.plain.length + 'r11'.length)
  })

  test.each([
    ['counts from the timestamp of the first record', 250, 250],
    ['is 0 where our clock is behind', -5000, 0],
  ])('the latency %s', (_name, ms, latencyMs) => {
    const scene = observed()
    scene.hub.add(new Witness(undefined, 'sse'))
    scene.clock.set(1_700_000_000_000 + ms)
    scene.log.last.give(data(11), data(12))
    expect(scene.heard.map((delivery) => delivery.latencyMs)).toEqual([latencyMs])
  })

  test('is not called without readers, nor for what is no data, nor for what they fetch', () => {
    const scene = observed()
    scene.log.last.give(data(11))
    scene.hub.add(new Witness(undefined, 'sse'))
    scene.log.last.give(touch(12))
    scene.log.last.give(group.begin(13), group.part(14), group.commit(15))
    expect(scene.heard).toEqual([])
  })
})

/** A reader of events at a position, with bytes that its socket has not taken. */
class Lagging extends Witness {
  readonly #position: number
  readonly #waiting: number

  constructor(position: number, waiting: number) {
    super(undefined, 'sse')
    this.#position = position
    this.#waiting = waiting
  }

  tally(sum: ReaderTally): void {
    if (this.#waiting > 0) sum.lagging += 1
    sum.waitingBytes += this.#waiting
    sum.earliest = Math.min(sum.earliest, this.#position)
  }
}

describe('look', () => {
  test('counts readers by how they are served, and sums up what each adds', () => {
    const { hub, log } = startHub()
    log.last.give(data(11, 'a'.repeat(100)), data(12, 'b'.repeat(50)))
    log.last.give(data(13, 'c'.repeat(7)))
    hub.add(new Lagging(13, 5))
    hub.add(new Lagging(14, 0))
    hub.add(new Witness())
    expect(hub.look()).toEqual({ sse: 2, longPolls: 1, lagging: 1, waitingBytes: 5, lagBytes: 7 })
  })

  test('is all zero without readers', () => {
    const { hub, log } = startHub()
    log.last.give(data(11))
    const nothing = { sse: 0, longPolls: 0, lagging: 0, waitingBytes: 0, lagBytes: 0 }
    expect(hub.look()).toEqual(nothing)
  })

  test('counts nobody twice, and those who left no more', () => {
    const { hub } = startHub()
    const [poll, events] = [new Witness(), new Witness(undefined, 'sse')]
    for (const each of [poll, poll, events]) hub.add(each)
    hub.remove(poll)
    hub.remove(poll)
    expect(hub.look()).toMatchObject({ sse: 1, longPolls: 0 })
  })
})

function batchAt({ hub }: Scene, position: number) {
  const next = hub.next(position)
  return next.kind === 'batch' ? next.batch.records : []
}
