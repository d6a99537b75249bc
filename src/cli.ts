#!/usr/bin/env node
/** The command of the package: which part of it is meant. No logic. */
import { doctor } from './doctor/doctor.ts'

const EXIT_USAGE = 2
const EXIT_INTERRUPTED = 130

const USAGE = `Usage: durable-streams-gateway [serve]           starts the gateway; all settings are environment variables
       durable-streams-gateway doctor <url> …   checks a deployment from outside; see doctor --help
`

/** A terminal signals the whole process group, and npm passes its own on: both mean one. */
const SAME_SIGNAL_MS = 1000

/** The first signal ends the run, which then deletes what it has created; a second one the process. */
async function runDoctor(args: readonly string[]): Promise<number> {
  const interrupted = new AbortController()
  let since: number | undefined
  const handle = (): void => {
    since ??= performance.now()
    interrupted.abort()
    if (performance.now() - since > SAME_SIGNAL_MS) process.exit(EXIT_INTERRUPTED)
  }
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, handle)
  return doctor(args, {
    out: (text) => void process.stdout.write(text),
    error: (text) => void process.stderr.write(text),
    token: process.env['DOCTOR_TOKEN'],
    signal: interrupted.signal,
  })
}

const [command = 'serve', ...args] = process.argv.slice(2)
switch (command) {
  case 'serve':
    await import('./main.ts')
    break
  case 'doctor':
    process.exitCode = await runDoctor(args)
    break
  case 'help':
  case '--help':
  case '-h':
    process.stdout.write(USAGE)
    break
  default:
    process.stderr.write(`there is no command ${command}\n${USAGE}`)
    process.exitCode = EXIT_USAGE
}
