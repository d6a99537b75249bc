/** kill -9 in the middle of appends: what was acknowledged is there, once and in order. */
import http from 'node:http'
import { describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { dyingLog } from '../support/dying-log.ts'
import { startGateway } from '../support/gateway.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { GatewayProcess } from '../support/gateway-process.ts'
import { appendJson, claim, createJsonStream, readJson, SseReader } from '../support/http-calls.ts'
import { temporaryDirectory } from '../support/temporary.ts'

const ROUNDS = 4
const STREAMS = ['even', 'odd']
const PRODUCERS = 12
/** Some messages are large, so that a crash finds the disk in the middle of long writes too. */
const SIZES = [10, 100, 1_000, 60_000]
/** The kill comes at a count of acknowledged appends, another one each round. */
const ACKS_BEFORE_KILL = [150, 431, 277, 600]

type Message = { readonly producer: string; readonly n: number; readonly pad: string }

/** Sends numbered messages over one connection, one at a time, until the gateway is gone. */
class Producer {
  readonly name: string
  readonly stream: string
  readonly isIdempotent: boolean
  /** Numbers that were answered with success. */
  readonly acknowledged: number[] = []
  #next = 0

  constructor(name: string, stream: string, isIdempotent: boolean) {
    this.name = name
    this.stream = stream
    this.isIdempotent = isIdempotent
  }

  async run(gateway: GatewayProcess, onAck: () => void): Promise<void> {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    try {
      for (;;) {
        await this.#send(gateway, agent)
        onAck()
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
      // A plain producer can not know, and must not send it again.
      if (!this.isIdempotent) this.#next += 1
    } finally {
      agent.destroy()
    }
  }

  /** Sends what is not acknowledged again: what an idempotent producer does after a failure. */
  async retry(gateway: GatewayProcess): Promise<void> {
    const agent = new http.Agent()
    await this.#send(gateway, agent)
    agent.destroy()
  }

  async #send(gateway: GatewayProcess, agent: http.Agent): Promise<void> {
    const n = this.#next
    const message: Message = { producer: this.name, n, pad: 'x'.repeat(SIZES[n % SIZES.length]!) }
    const headers = this.isIdempotent ? claim(this.name, 0, n) : {}
    const url = gateway.stream(this.stream)
    const { status, body } = await appendJson(url, message, { agent, headers })
    // 204 is also a duplicate's answer: it was stored before the crash.
    if (status !== 200 && status !== 204) throw new Error(`not appended: ${status} ${body}`)
    this.acknowledged.push(n)
    this.#next += 1
  }
}

function start(directory: string): Promise<GatewayProcess> {
  return startGatewayProcess({ DATA_DIR: directory })
}

function numbersOf(messages: readonly Message[], { name }: Producer): number[] {
  return messages.filter(({ producer }) => producer === name).map(({ n }) => n)
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

function expectEverythingAcknowledged(stored: readonly Message[], producer: Producer): void {
  const numbers = numbersOf(stored, producer)
  // Once and in order, whatever of the unacknowledged there is.
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
  expect(numbers).toEqual(expect.arrayContaining([...producer.acknowledged]))
}

describe('kill -9 in the middle of appends', () => {
  test('loses nothing that was acknowledged and stores nothing twice', async () => {
    const directory = await temporaryDirectory()
    const producers = Array.from({ length: PRODUCERS }, (_, index) => {
      const isIdempotent = index % 4 > 1
      const name = `${isIdempotent ? 'idempotent' : 'plain'}-${index}`
      return new Producer(name, STREAMS[index % STREAMS.length]!, isIdempotent)
    })
    let gateway = await start(directory)
    for (const stream of STREAMS) await createJsonStream(gateway.stream(stream))

    for (let round = 0; round < ROUNDS; round += 1) {
      const seen = await Promise.all(STREAMS.map((name) => SseReader.open(gateway.stream(name))))
      let acks = 0
      const { kill, exited } = gateway
      const running = producers.map((producer) =>
        producer.run(gateway, () => {
          acks += 1
          if (acks === ACKS_BEFORE_KILL[round]) kill('SIGKILL')
        }),
      )
      await Promise.all(running)
      expect(await exited).toEqual({ code: null, signal: 'SIGKILL' })
      await Promise.all(seen.map(({ ended }) => ended))

      gateway = await start(directory)
      for (const [index, name] of STREAMS.entries()) {
        const stored = (await readJson(gateway.stream(name))) as Message[]
        const own = producers.filter(({ stream }) => stream === name)
        for (const producer of own) expectEverythingAcknowledged(stored, producer)
        // What a reader was shown is never taken back.
        const shown = seen[index]!.messages
        expect(shown.length).toBeGreaterThan(0)
        expect(stored.slice(0, shown.length)).toEqual(shown)
      }
      const idempotent = producers.filter(({ isIdempotent }) => isIdempotent)
      await Promise.all(idempotent.map((producer) => producer.retry(gateway)))
      for (const name of STREAMS) {
        const stored = (await readJson(gateway.stream(name))) as Message[]
        for (const producer of idempotent.filter(({ stream }) => stream === name)) {
          expect(numbersOf(stored, producer)).toEqual(upTo(producer.acknowledged.length))
        }
      }
    }
  }, 60_000)
})

test('a large append that a crash broke off holds nobody up', async () => {
  const directory = await temporaryDirectory()
  const log = await openEmbeddedLog({ location: { kind: 'directory', path: directory } })
  const alive = await startGateway({ log })
  await createJsonStream(alive.stream('s'))
  const env = { APPEND_TIMEOUT_MS: '300', APPEND_LOCK_MS: '200', SUBSCRIPTIONS: 'off' }
  const dying = await startGateway({ log: dyingLog(log, { appends: 1, lastIsStored: false }), env })
  expect((await appendJson(dying.stream('s'), 'x'.repeat(3_000_000))).status).toBe(503)
  await Promise.all([alive.shutdown(), dying.shutdown()])
  await log.close()

  const leaseMs = 60_000
  const gateway = await startGatewayProcess({
    DATA_DIR: directory,
    APPEND_LOCK_MS: `${leaseMs}`,
    APPEND_TIMEOUT_MS: `${2 * leaseMs}`,
  })
  const begun = performance.now()
  expect((await appendJson(gateway.stream('s'), 'after')).status).toBe(204)
  expect(performance.now() - begun).toBeLessThan(leaseMs / 4)
  expect(await readJson(gateway.stream('s'))).toEqual(['after'])
}, 60_000)
