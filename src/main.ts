/** The process: configuration, log, listening, signals. No logic. */
import { resolve } from 'node:path'
import { buildGateway } from './app.ts'
import type { Gateway } from './app.ts'
import { UnusableKeyError } from './auth/key.ts'
import { KeySourceError } from './auth/key-ring.ts'
import { systemClock } from './clock.ts'
import { ConfigError, loadConfig } from './config.ts'
import type { Config } from './config.ts'
import { DataDirectoryError, DataDirectoryInUseError } from './log/embedded-disk-store.ts'
import { openEmbeddedLog } from './log/embedded-log.ts'
import type { DurableLog } from './log/log.ts'
import { openS2Log } from './log/s2-log.ts'
import { openS2ProjectLog } from './log/s2-projects.ts'
import type { Observers } from './metrics/metrics.ts'
import { openMetrics } from './metrics/open.ts'
import { ProjectRule } from './protocol/project.ts'
import type { StartedTracing } from './tracing/tracing.ts'

const EXIT_FAILURE = 1
/** The usual exit code for a wrong use of a command. */
const EXIT_USAGE = 2

/** What another environment, or the files that it names, would mend. */
const ENVIRONMENT_ERRORS = [ConfigError, DataDirectoryError, KeySourceError, UnusableKeyError]

/** A terminal signals the whole process group, and npm passes its own on: both mean one. */
const SAME_SIGNAL_MS = 1000

function openLog(
  { log, S2_TIMEOUT_MS, MAX_OPEN_PROJECTS }: Config,
  { s2Connections: observer }: Observers,
): Promise<DurableLog> {
  if (log.kind === 'embedded') {
    const location = { kind: 'directory', path: resolve(log.directory) } as const
    return openEmbeddedLog({ location, isShared: false })
  }
  const { accessToken, basin, endpoint, basinPrefix } = log
  const options = { accessToken, basin, endpoint, requestTimeoutMs: S2_TIMEOUT_MS, observer }
  if (basinPrefix === undefined) return openS2Log(options)
  const projects = new ProjectRule(basinPrefix)
  return openS2ProjectLog({
    ...options,
    basinPrefix,
    isProject: (text) => projects.allows(text),
    clock: systemClock,
    maxOpen: MAX_OPEN_PROJECTS,
  })
}

/** What a newcomer needs: where it is, what it keeps data in, and what to type. */
function greeting(url: string, { description }: DurableLog, needsToken: boolean): string {
  const where = `Durable Streams gateway on ${url}, ${description}\n`
  if (needsToken) return `${where}Every request needs a token: README.md says how to make one.\n`
  return `${where}Try:
  curl -i -X PUT ${url}/v1/stream/hello -H 'Content-Type: text/plain'
  curl -i -X POST ${url}/v1/stream/hello -H 'Content-Type: text/plain' -d 'hello, world'
  curl -N '${url}/v1/stream/hello?offset=-1&live=sse'
`
}

/** Ends the process on SIGTERM or SIGINT by `leave`, which may find nothing started yet. */
function onSignal(leave: (signal: string) => Promise<void>): void {
  let leavingSince: number | undefined
  const handle = async (signal: string): Promise<void> => {
    if (leavingSince !== undefined) {
      // A second signal, of a person who is in a hurry, ends the process at once.
      if (performance.now() - leavingSince > SAME_SIGNAL_MS) process.exit(EXIT_FAILURE)
      return
    }
    leavingSince = performance.now()
    await leave(signal)
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, (name: string) => void handle(name))
  }
}

async function start(): Promise<void> {
  const config = loadConfig(process.env)
  // A signal may come while the log is still being opened.
  const started: { log?: DurableLog; gateway?: Gateway; tracing?: StartedTracing } = {}
  onSignal(async (signal) => {
    started.gateway?.app.log.info({ signal }, 'shutting down')
    await started.gateway?.shutdown()
    await started.log?.close()
    await started.tracing?.stop()
  })
  const metrics = openMetrics(config, systemClock)
  if (config.tracing) {
    // Nothing of it is loaded otherwise.
    const { startTracing } = await import('./tracing/opentelemetry.ts')
    started.tracing = startTracing((level, cause) => {
      const log = started.gateway?.app.log
      if (log !== undefined) log[level]({ cause }, 'tracing')
      else if (level === 'warn') process.stderr.write(`tracing: ${cause}\n`)
    })
  }
  const log = (started.log = await openLog(config, metrics.observers))
  const tracing = started.tracing?.tracing
  const gateway = (started.gateway = await buildGateway(config, { log, metrics, tracing }))
  const { HOST: host, PORT: port, LISTEN_BACKLOG: backlog } = config
  const url = await gateway.app.listen({ host, port, backlog })
  process.stdout.write(greeting(url, log, config.auth !== undefined))
  log.ping().catch((error: unknown) => {
    const { cause } = error instanceof Error ? error : {}
    const reason = cause instanceof Error ? cause.message : undefined
    gateway.app.log.warn({ log: log.description, cause: reason }, 'the log can not be reached yet')
  })
}

try {
  await start()
} catch (error) {
  process.stderr.write(`${explain(error)}\n`)
  process.exit(isConfiguration(error) ? EXIT_USAGE : EXIT_FAILURE)
}

/** Whether another environment is what it takes. */
function isConfiguration(error: unknown): boolean {
  if (error instanceof DataDirectoryInUseError) return false
  return ENVIRONMENT_ERRORS.some((kind) => error instanceof kind)
}

/** What the person who starts the gateway can mend needs no stack; anything else is a bug. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const forPeople = ENVIRONMENT_ERRORS.some((kind) => error instanceof kind) || 'syscall' in error
  return forPeople ? error.message : (error.stack ?? error.message)
}
