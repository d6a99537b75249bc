/**
 * Idempotent producers, each with a keep-alive connection and one append at a time, as cheap as
 * can be: they share the machine with what is measured.
 */
import { once } from 'node:events'
import net from 'node:net'

export type Load = {
  /** The servers; the producers are spread over them. */
  readonly urls: readonly string[]
  readonly stream: string
  readonly producers: number
  /** Bytes of one message. */
  readonly bytes: number
}

type Producer = { readonly socket: net.Socket; sentAt: number }

export class Producers {
  readonly #load: Load
  readonly #producers: Producer[] = []
  #latencies: number[] = []
  #isOver = false

  constructor(load: Load) {
    this.#load = load
  }

  /** Connects all and has them append until {@link stop}. */
  async start(): Promise<void> {
    const { urls, producers } = this.#load
    for (let index = 0; index < producers; index += 1) {
      const { hostname, port } = new URL(urls[index % urls.length] ?? '')
      const socket = net.connect({ host: hostname, port: Number(port), noDelay: true })
      await once(socket, 'connect')
      this.#produce(socket, `bench-${process.pid}-${index}`)
    }
  }

  /** How long each append took that was acknowledged since the last call, in ms. */
  take(): readonly number[] {
    const latencies = this.#latencies
    this.#latencies = []
    return latencies
  }

  /** For how long the one that waits longest has waited by now, in ms. */
  longestWait(): number {
    const now = performance.now()
    return Math.max(...this.#producers.map(({ sentAt }) => now - sentAt))
  }

  stop(): void {
    this.#isOver = true
    for (const { socket } of this.#producers) socket.destroy()
  }

  #produce(socket: net.Socket, id: string): void {
    const { stream, bytes } = this.#load
    const body = 'x'.repeat(bytes)
    const head =
      `POST /v1/stream/${stream} HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\n` +
      `Content-Length: ${bytes}\r\nProducer-Id: ${id}\r\nProducer-Epoch: 0\r\nProducer-Seq: `
    const producer = { socket, sentAt: 0 }
    let seq = 0
    let answer = ''
    const send = (): void => {
      producer.sentAt = performance.now()
      socket.write(`${head}${seq}\r\n\r\n${body}`)
      seq += 1
    }
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
      // No server here sends a body with a 2xx.
      if (!answer.endsWith('\r\n\r\n')) return
      if (!/^HTTP\/1\.1 20[04] /.test(answer)) throw new Error(`refused: ${answer}`)
      answer = ''
      this.#latencies.push(performance.now() - producer.sentAt)
      if (!this.#isOver) send()
    })
    this.#producers.push(producer)
    send()
  }
}
