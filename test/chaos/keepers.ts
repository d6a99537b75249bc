/** Clients that create, close and delete streams. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from './client.ts'
import type { WriterKind } from './history.ts'
import { BIRTH_PREFIX } from './payload.ts'
import { create, remove } from './requests.ts'
import { untilCertain } from './writers.ts'

export class Keeper {
  readonly #client: Client
  #births = 0
  #closings = 0

  constructor(client: Client) {
    this.#client = client
  }

  /** Works as the stream's life wants it. The stream is there when this begins and ends. */
  async keep(): Promise<void> {
    const { stream, world } = this.#client
    if (stream.life === 'closing') {
      await this.#waitUntil(stream.closeAtMs)
      await this.#close()
    }
    while (stream.life === 'cycling' && !world.isFinishing()) {
      await this.#client.pause(200, 1_500)
      await this.#close()
      await this.#client.pause(0, 400)
      if (world.isFinishing()) break
      await this.#delete()
      await this.#client.pause(0, 200)
      await this.create()
    }
  }

  /** Until somebody says that it is there. Sometimes two ask at once. */
  async create(): Promise<void> {
    for (;;) {
      const requests = [this.#birth()]
      if (this.#client.random.chance(0.2)) requests.push(this.#birth())
      const outcomes = (await Promise.all(requests)).map(({ outcome }) => outcome)
      const isThere = ({ kind, ...rest }: (typeof outcomes)[number]): boolean =>
        kind === 'ok' || ('status' in rest && rest.status === 409)
      if (outcomes.some(isThere)) return
      await this.#client.pause(20, 120)
    }
  }

  #birth(): ReturnType<typeof create> {
    const { name } = this.#client.stream
    this.#births += 1
    const writer = `${BIRTH_PREFIX}${name}`
    return create(this.#client, { writer, epoch: 0, seq: this.#births, attempt: 0 })
  }

  async #delete(): Promise<void> {
    for (;;) {
      const requests = [remove(this.#client)]
      if (this.#client.random.chance(0.3)) requests.push(remove(this.#client))
      const outcomes = (await Promise.all(requests)).map(({ outcome }) => outcome)
      const isGone = (outcome: (typeof outcomes)[number]): boolean =>
        outcome.kind === 'ok' || (outcome.kind === 'refused' && outcome.status === 404)
      if (outcomes.some(isGone)) return
      await this.#client.pause(20, 120)
    }
  }

  /** With final data or without, with a claim or without, alone or against a rival. Or not. */
  async #close(): Promise<void> {
    const { random } = this.#client
    const isCertain = this.#client.stream.life === 'closing'
    if (!isCertain && random.chance(0.25)) return
    const closers = random.chance(0.3) ? 2 : 1
    await Promise.all(Array.from({ length: closers }, () => this.#closeOnce()))
  }

  async #closeOnce(): Promise<void> {
    const { name, random } = this.#client
    this.#closings += 1
    const writer = `closer${this.#closings}-${name}`
    const by: WriterKind = random.pick(['idempotent', 'retrying'])
    const count = random.pick([0, 0, 1, 3])
    await untilCertain(this.#client, (attempt) => ({
      by,
      claim: { writer, epoch: 0, seq: 0, attempt },
      count,
      close: true,
    }))
  }

  async #waitUntil(ms: number): Promise<void> {
    const { recorder } = this.#client.world
    await sleep(Math.max(0, ms - recorder.now()))
  }
}
