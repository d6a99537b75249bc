/** What `npm run helm:install` has installed, and etcd, which is Debian's. */
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { findProgram } from '../support/programs.ts'

/** The same as in `install-helm.mjs`. */
const HELM = '3.22.0'
const HADOLINT = '2.15.1'
export const KUBERNETES = '1.34.2'
const DEFINITIONS = 'definitions-1'

const CACHE = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
const ROOT = process.env['HELM_TOOLS_DIR'] || join(CACHE, 'durable-streams-gateway', 'helm-tools')

/** Undefined for what is not installed. */
export const TOOLS = {
  helm: installed(`helm-${HELM}`),
  kubeApiserver: installed(`kube-apiserver-${KUBERNETES}`),
  /** A folder of definitions of others' resources, one a file. */
  definitions: installed(DEFINITIONS),
  hadolint: installed(`hadolint-${HADOLINT}`),
  etcd: findProgram('etcd'),
} as const

type Tool = keyof typeof TOOLS

/** What the API server needs. */
export const KUBERNETES_TOOLS: readonly Tool[] = ['helm', 'kubeApiserver', 'definitions', 'etcd']

/** Whether one of them is not installed; for `describe.skipIf`. */
export function areMissing(...tools: readonly Tool[]): boolean {
  return tools.some((tool) => TOOLS[tool] === undefined)
}

/** What to say of those that are not installed; nothing when all are. */
export function whatIsMissing(): string | undefined {
  const missing = Object.entries(TOOLS).flatMap(([tool, path]) => (path === undefined ? tool : []))
  if (missing.length === 0) return undefined
  const commands = [
    ...(missing.some((tool) => tool !== 'etcd') ? ['npm run helm:install (needs Go)'] : []),
    ...(missing.includes('etcd') ? ['apt-get install etcd-server'] : []),
  ]
  return `missing: ${missing.join(', ')}. To install: ${commands.join('; ')}`
}

/** The path of a tool that a suite has made sure of. */
export function toolPath(tool: Tool): string {
  const path = TOOLS[tool]
  if (path === undefined) throw new Error(`${tool} is missing: npm run helm:install`)
  return path
}

function installed(name: string): string | undefined {
  const path = join(ROOT, name)
  return existsSync(path) ? path : undefined
}
