/** What `res.write` costs: a plain Node server that writes each message to every reader itself. */
import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

type Stream = { readonly readers: Set<ServerResponse>; readonly events: Buffer[] }

const streams = new Map<string, Stream>()

function streamAt(path: string): Stream {
  const found = streams.get(path)
  if (found !== undefined) return found
  const stream: Stream = { readers: new Set(), events: [] }
  streams.set(path, stream)
  return stream
}

const server = createServer((request, response) => {
  const [path = '', query] = (request.url ?? '').split('?')
  const { readers, events } = streamAt(path)
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(': hello\n\n')
    if (query === 'all') response.write(Buffer.concat(events))
    readers.add(response)
    response.on('close', () => readers.delete(response))
    return
  }
  let body = ''
  request.setEncoding('utf8').on('data', (text: string) => (body += text))
  request.on('end', () => {
    const event = Buffer.from(`event: data\ndata: ${body}\n\n`)
    events.push(event)
    for (const reader of readers) reader.write(event)
    response.writeHead(204).end()
  })
})
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`)
})
process.on('SIGTERM', () => process.exit(0))
