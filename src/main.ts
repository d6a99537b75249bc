/** The process: configuration, log, listening, signals. No logic. */
import { buildGateway } from './app.ts'
import type { Gateway } from './app.ts'
import { ConfigError, loadConfig } from './config.ts'
import type { Config, LogConfig } from './config.ts'
import { openEmbeddedLog } from './log/embedded-log.ts'
import type { DurableLog } from './log/log.ts'
import { openS2Log } from './log/s2-log.ts'

/** The usual exit code for a wrong use of a command. */
const EXIT_USAGE = 2

function readConfig(): Config {
  try {
    return loadConfig(process.env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(EXIT_USAGE)
  }
}

function openLog(log: LogConfig, config: Config): Promise<DurableLog> {
  if (log.kind === 'embedded') {
    return openEmbeddedLog({ location: { kind: 'directory', path: log.directory } })
  }
  const { accessToken, basin, endpoint } = log
  return openS2Log({
    accessToken,
    basin,
    requestTimeoutMs: config.S2_TIMEOUT_MS,
    ...(endpoint === undefined ? {} : { endpoint }),
  })
}

/** What a newcomer needs: where it is, what it keeps data in, and what to type. */
function greeting(url: string, { description }: DurableLog): string {
  return [
    `Durable Streams gateway on ${url}, ${description}`,
    'Try:',
    `  curl -X PUT ${url}/v1/stream/hello -H 'Content-Type: text/plain'`,
    `  curl -X POST ${url}/v1/stream/hello -H 'Content-Type: text/plain' -d 'hello, world'`,
    `  curl -N '${url}/v1/stream/hello?offset=-1&live=sse'`,
    '',
  ].join('\n')
}

function leaveOnSignal(gateway: Gateway, log: DurableLog): void {
  let leaving = false
  const leave = async (signal: string): Promise<void> => {
    // A second signal, of a person who is in a hurry, ends the process at once.
    if (leaving) process.exit(1)
    leaving = true
    gateway.app.log.info({ signal }, 'shutting down')
    await gateway.shutdown()
    await log.close()
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, (name: string) => void leave(name))
}

const config = readConfig()
const log = await openLog(config.log, config)
const gateway = await buildGateway(config, { log })
leaveOnSignal(gateway, log)
const url = await gateway.app.listen({ host: config.HOST, port: config.PORT, backlog: 4096 })
process.stdout.write(greeting(url, log))
