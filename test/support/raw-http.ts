/** HTTP as bytes on a socket, for requests that no client library would send. */
import { once } from 'node:events'
import net from 'node:net'

export type RawAnswer = {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** A connection to the server at `url`. */
export async function connect(url: string): Promise<net.Socket> {
  const { hostname, port } = new URL(url)
  const socket = net.connect(Number(port), hostname)
  await once(socket, 'connect')
  return socket
}

/**
 * Sends bytes on a connection of their own and reads `count` answers, whose bodies must have a
 * length; informational ones (1xx) count. Fewer come back when the server closes before.
 */
export async function exchange(
  url: string,
  bytes: string | Buffer,
  count = 1,
): Promise<readonly RawAnswer[]> {
  const socket = await connect(url)
  socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  const answers = await readAnswers(socket, count)
  socket.destroy()
  return answers
}

/** Reads answers from a connection until there are enough or the server closes it. */
export async function readAnswers(socket: net.Socket, count: number): Promise<RawAnswer[]> {
  const answers: RawAnswer[] = []
  let rest = ''
  for await (const chunk of socket) {
    rest += (chunk as Buffer).toString('latin1')
    for (let parsed = parseAnswer(rest); parsed !== undefined; parsed = parseAnswer(rest)) {
      answers.push(parsed.answer)
      rest = parsed.rest
    }
    if (answers.length >= count) break
  }
  return answers
}

function parseAnswer(text: string): { answer: RawAnswer; rest: string } | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const [statusLine = '', ...lines] = text.slice(0, end).split('\r\n')
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }),
  )
  const length = Number(headers['content-length'] ?? 0)
  const body = text.slice(end + 4, end + 4 + length)
  if (body.length < length) return undefined
  const status = Number(statusLine.split(' ')[1])
  return { answer: { status, headers, body }, rest: text.slice(end + 4 + length) }
}
