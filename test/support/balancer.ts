/** A load balancer for TCP: each connection goes to the next gateway that is said to be ready. */
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'

export type Balancer = {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string
  /** Where connections go from now on, as ports of this host. */
  route(ports: readonly number[]): void
  stop(): Promise<void>
}

/** Starts one. Connections that there are stay where they are. */
export async function startBalancer(): Promise<Balancer> {
  let targets: readonly number[] = []
  let turn = 0
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ noDelay: true }, (inward) => {
    const port = targets[turn % targets.length]
    turn += 1
    if (port === undefined) return void inward.destroy()
    const outward = net.connect({ port, host: '127.0.0.1', noDelay: true })
    for (const [one, other] of [
      [inward, outward],
      [outward, inward],
    ] as const) {
      sockets.add(one)
      one.pipe(other)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
    }
  })
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    route: (ports) => {
      targets = ports
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
