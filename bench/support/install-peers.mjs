/**
 * Installs what the fan-out benchmark compares the gateway with: `npm run bench:peers`.
 *
 * nchan comes from Debian. The reference server comes from npm and goes into a cache directory: it
 * is no dependency of ours. What is there already stays; what can't be had is said, and the
 * benchmark leaves it out.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'

const REFERENCE = '@durable-streams/server'
const REFERENCE_VERSION = '0.3.7'
const NCHAN_PACKAGES = ['nginx', 'libnginx-mod-nchan']
const NCHAN_MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so'

const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
const directory = join(cache, 'durable-streams-gateway', 'bench', 'reference')

const installed = [installNchan(), installReference()]
if (installed.includes(false)) process.exitCode = 1

function installNchan() {
  if (existsSync(NCHAN_MODULE)) return there('nchan', NCHAN_MODULE)
  const command = ['apt-get', 'install', '-y', '--no-install-recommends', ...NCHAN_PACKAGES]
  if (process.getuid?.() !== 0) return absent('nchan', `run as root: ${command.join(' ')}`)
  return run('nchan', command)
}

function installReference() {
  const module = join(directory, 'node_modules', REFERENCE)
  if (existsSync(module)) return there(REFERENCE, module)
  mkdirSync(directory, { recursive: true })
  const flags = ['--prefix', directory, '--no-save', '--no-audit', '--no-fund']
  return run(REFERENCE, ['npm', 'install', ...flags, `${REFERENCE}@${REFERENCE_VERSION}`])
}

function run(name, [command, ...args]) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' })
  if (status === 0) return there(name, 'just now')
  return absent(name, error?.message ?? `${command} ended with ${status}`)
}

function there(name, where) {
  console.log(`${name} is installed: ${where}`)
  return true
}

function absent(name, why) {
  console.error(`${name} is not installed: ${why}`)
  return false
}
