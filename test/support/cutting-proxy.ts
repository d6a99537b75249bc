/** A TCP relay between a client and a gateway that cuts what runs through it. */
import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import type { Certificate } from './certificate.ts'

export type CuttingProxy = {
  readonly url: string
  /** Connections that are open at this moment. */
  connections(): number
  /** Resets every connection. New ones work. */
  cut(): void
  stop(): Promise<void>
}

/**
 * Starts a relay in front of the server at `127.0.0.1:target`. With a certificate it speaks TLS to
 * clients, and plainly to the server.
 */
export async function startCuttingProxy(
  target: number,
  certificate?: Certificate,
): Promise<CuttingProxy> {
  const clients = new Set<net.Socket>()
  const relay = (client: net.Socket): void => {
    const upstream = net.connect({ port: target, host: '127.0.0.1', noDelay: true })
    client.once('close', () => upstream.destroy())
    upstream.once('close', () => client.destroySoon())
    // The `close` that follows tells all there is.
    client.on('error', () => undefined)
    upstream.on('error', () => undefined)
    client.pipe(upstream)
    upstream.pipe(client)
  }
  const secure = certificate && tls.createServer(certificate, relay)
  // A handshake that fails is the client's to tell.
  secure?.on('tlsClientError', () => undefined)
  const server = net.createServer({ noDelay: true }, (client) => {
    clients.add(client)
    client.once('close', () => clients.delete(client))
    if (secure === undefined) relay(client)
    else secure.emit('connection', client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not a TCP server')
  const cut = (): void => {
    for (const client of clients) client.resetAndDestroy()
  }
  return {
    url: `${certificate === undefined ? 'http' : 'https'}://127.0.0.1:${address.port}`,
    connections: () => clients.size,
    cut,
    stop: async () => {
      server.close()
      cut()
      await once(server, 'close')
    },
  }
}
