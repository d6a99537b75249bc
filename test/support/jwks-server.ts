/** An issuer's JWKS endpoint that says what a test tells it to, over real HTTP on loopback. */
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { keySetOf } from './tokens.ts'
import type { TestKey } from './tokens.ts'

export type JwksServer = {
  readonly url: string
  /** How many requests have come. */
  readonly requests: () => number
  /** Says from now on that these are the keys. */
  readonly publish: (...keys: readonly TestKey[]) => Promise<void>
  /** Answers from now on so. */
  readonly answer: (listener: RequestListener) => void
}

/** Call it inside a test, which ends it. */
export async function startJwksServer(...keys: readonly TestKey[]): Promise<JwksServer> {
  let requests = 0
  let listener: RequestListener = (_request, response) => response.end('{"keys":[]}')
  const server = createServer((request, response) => {
    requests += 1
    listener(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  const jwks: JwksServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`,
    requests: () => requests,
    publish: async (...published) => {
      const body = await keySetOf(...published)
      listener = (_request, response) => response.end(body)
    },
    answer: (given) => {
      listener = given
    },
  }
  await jwks.publish(...keys)
  return jwks
}
