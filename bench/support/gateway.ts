/** The gateway as `npm start` runs it: what an append leaves behind dies young if there is room. */
import { node, pathOf, startServer } from './processes.ts'
import type { Server, Start } from './processes.ts'

const COMMAND = node('--max-semi-space-size=64', pathOf('../dist/main.js'))

/** Starts one that logs nothing. */
export function startGateway(
  env: Readonly<Record<string, string>>,
  where: Pick<Start, 'cores'> = {},
): Promise<Server> {
  const all = { PORT: '0', LOG_LEVEL: 'silent', AUTH: 'none', ...env }
  return startServer(COMMAND, { env: all, ...where })
}
