/** Where this machine keeps what benchmarks need and the repository does not hold. */
import { homedir } from 'node:os'
import { join } from 'node:path'

/** The same as in `install-peers.mjs`. */
export const CACHE = join(
  process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'),
  'durable-streams-gateway',
  'bench',
)
