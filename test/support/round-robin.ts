/** A load balancer in front of several gateways: each request goes to the next one. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream'

export type RoundRobin = {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string
  /** Requests that each target got, in the order of the targets. */
  readonly counts: readonly number[]
  stop(): Promise<void>
}

/** Starts one; `Host` stays as the client sent it. A response ends when either side ends it. */
export async function startRoundRobin(targets: readonly string[]): Promise<RoundRobin> {
  const counts = targets.map(() => 0)
  const agents = targets.map(() => new http.Agent({ keepAlive: true }))
  let turn = 0
  const server = http.createServer((request, response) => {
    const index = turn % targets.length
    turn += 1
    counts[index] = (counts[index] ?? 0) + 1
    const { hostname, port } = new URL(targets[index] ?? '')
    const { method, url: path, rawHeaders } = request
    const outward = http.request(
      { hostname, port, method, path, headers: rawHeaders, agent: agents[index] },
      (answer) => {
        const { statusCode = 502, statusMessage, rawHeaders: headers } = answer
        response.writeHead(statusCode, statusMessage, headers)
        // What goes wrong on one side has been passed on to the other by then.
        pipeline(answer, response, () => undefined)
      },
    )
    outward.on('error', () => response.destroy())
    response.on('close', () => {
      if (!response.writableFinished) outward.destroy()
    })
    pipeline(request, outward, () => undefined)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    counts,
    stop: async () => {
      server.closeAllConnections()
      for (const agent of agents) agent.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
