/**
 * What S2 and its SDK take by themselves: a plain Node server that appends what is posted, reads it
 * back in one session and writes it to every reader. One stream, and live reads only.
 */
import { AppendInput, AppendRecord, S2 } from '@s2-dev/streamstore'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

const [endpoint = ''] = process.argv.slice(2)
const s2 = new S2({ accessToken: 'none', endpoints: { account: endpoint, basin: endpoint } })
const basin = `bench-${process.pid}-fan-out`
await s2.basins.create({ basin })
await s2.basin(basin).streams.create({ stream: 'live' })
const stream = s2.basin(basin).stream('live')
const appends = await stream.appendSession()
const readers = new Set<ServerResponse>()

async function append(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await buffer(request)
  const ticket = await appends.submit(AppendInput.create([AppendRecord.bytes({ body })]))
  await ticket.ack()
  response.writeHead(204).end()
}

async function follow(): Promise<never> {
  const records = await stream.readSession({ start: { from: { seqNum: 0 } } }, { as: 'bytes' })
  for await (const { body } of records) {
    const event = Buffer.from(`event: data\ndata: ${Buffer.from(body).toString()}\n\n`)
    for (const reader of readers) reader.write(event)
  }
  throw new Error('the session ended')
}

const server = createServer((request, response) => {
  if (request.method !== 'GET') return void append(request, response)
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(': hello\n\n')
  readers.add(response)
  response.on('close', () => readers.delete(response))
})
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`)
})
process.on('SIGTERM', () => process.exit(0))
await follow()
