/**
 * Installs the real s2-lite that tests compare us with: `npm run s2-lite:install`.
 *
 * Plain JavaScript, because it runs before anything is built. Takes about ten minutes on two
 * cores, once; does nothing when the binary is there. `s2-lite.ts` looks in the same place.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'

const VERSION = '0.42.7'
const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
const root = process.env.S2_LITE_DIR || join(cache, 'durable-streams-gateway', `s2-cli-${VERSION}`)
const binary = join(root, 'bin', 's2')

if (existsSync(binary)) {
  console.log(`s2-lite ${VERSION} is there: ${binary}`)
} else {
  process.exitCode = install()
}

function install() {
  console.log(`Building s2-lite ${VERSION} into ${root}; this takes about ten minutes.`)
  const options = ['install', '--locked', 's2-cli', '--version', VERSION, '--root', root]
  const cargo = spawnSync('cargo', options, { stdio: 'inherit' })
  if (cargo.error?.code === 'ENOENT') {
    console.error('s2-lite is built with cargo, and there is none: see https://rustup.rs')
    return 1
  }
  if (cargo.error !== undefined) {
    console.error(`cargo could not run: ${cargo.error.message}`)
    return 1
  }
  if (cargo.status !== 0) {
    console.error(`cargo install failed (${cargo.signal ?? `exit code ${cargo.status}`})`)
    return 1
  }
  console.log(`s2-lite ${VERSION} is installed: ${binary}`)
  return 0
}
