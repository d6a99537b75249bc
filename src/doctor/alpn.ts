/** What a TLS server speaks, as it says in the handshake (RFC 7301). */
import tls from 'node:tls'
import { once } from 'node:events'
import { wireError } from './wire.ts'
import type { Endpoint } from './wire.ts'

/**
 * The protocol that the server chooses when it is offered HTTP/2 and HTTP/1.1; undefined without TLS.
 *
 * @throws WireError there is no connection
 */
export async function negotiated(
  { origin, insecure }: Endpoint,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (origin.protocol !== 'https:') return undefined
  const host = origin.hostname.replace(/^\[|\]$/g, '')
  const socket = tls.connect({
    host,
    port: Number(origin.port === '' ? 443 : origin.port),
    ALPNProtocols: ['h2', 'http/1.1'],
    rejectUnauthorized: !insecure,
    // An address is no name of a server (RFC 6066 §3).
    ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
  })
  try {
    await once(socket, 'secureConnect', { signal })
    return socket.alpnProtocol === false ? undefined : (socket.alpnProtocol ?? undefined)
  } catch (error) {
    throw wireError(signal.aborted ? signal.reason : error)
  } finally {
    socket.on('error', () => undefined).destroy()
  }
}
