/** The protocol's reference server, in memory, from where `npm run bench:peers` has put it. */
import { pathToFileURL } from 'node:url'
import { REFERENCE_MODULE } from './peers.ts'

const HOUR_MS = 60 * 60 * 1000

type Reference = {
  readonly DurableStreamTestServer: new (options: object) => { start(): Promise<string> }
}

const { DurableStreamTestServer } = (await import(
  pathToFileURL(REFERENCE_MODULE).href
)) as Reference
const server = new DurableStreamTestServer({ port: 0, longPollTimeout: HOUR_MS })
process.stdout.write(`${await server.start()}\n`)
process.on('SIGTERM', () => process.exit(0))
