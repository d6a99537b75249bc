/** A TCP relay between a client and a gateway that cuts what runs through it. */
import { once } from 'node:events'
import net from 'node:net'

export type CuttingProxy = {
  readonly url: string
  /** Connections that are open at this moment. */
  connections(): number
  /** Resets every connection. New ones work. */
  cut(): void
  stop(): Promise<void>
}

/** Starts a relay in front of the server at `127.0.0.1:target`. */
export async function startCuttingProxy(target: number): Promise<CuttingProxy> {
  const clients = new Set<net.Socket>()
  const server = net.createServer({ noDelay: true }, (client) => {
    const upstream = net.connect({ port: target, host: '127.0.0.1', noDelay: true })
    clients.add(client)
    client.once('close', () => {
      clients.delete(client)
      upstream.destroy()
    })
    upstream.once('close', () => client.destroySoon())
    // The `close` that follows tells all there is.
    client.on('error', () => undefined)
    upstream.on('error', () => undefined)
    client.pipe(upstream)
    upstream.pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not a TCP server')
  const cut = (): void => {
    for (const client of clients) client.resetAndDestroy()
  }
  return {
    url: `http://127.0.0.1:${address.port}`,
    connections: () => clients.size,
    cut,
    stop: async () => {
      server.close()
      cut()
      await once(server, 'close')
    },
  }
}
