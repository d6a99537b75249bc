/**
 * A real Prometheus of the test's own, and its API
 * (https://prometheus.io/docs/prometheus/latest/querying/api/).
 */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { z } from 'zod'
import type { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { run, statusOf } from '../support/gateway-process.ts'
import type { Exit } from '../support/gateway-process.ts'
import { findProgram } from '../support/programs.ts'
import type { Demand } from '../support/programs.ts'
import { temporaryDirectory } from '../support/temporary.ts'

const execute = promisify(execFile)

export const PROMETHEUS: Demand = { package: 'prometheus', programs: ['prometheus', 'promtool'] }

const START_TIMEOUT_MS = 20_000

/** Of an instant query: a series and its value. */
const Sample = z.object({
  metric: z.record(z.string(), z.string()),
  value: z.tuple([z.number(), z.string()]),
})
const Vector = z.object({ resultType: z.literal('vector'), result: z.array(Sample) })

const Alert = z.object({
  labels: z.record(z.string(), z.string()),
  state: z.enum(['pending', 'firing']),
})
const Rule = z.object({ name: z.string(), health: z.string(), lastError: z.string().optional() })
const Groups = z.object({ groups: z.array(z.object({ name: z.string(), rules: z.array(Rule) })) })

export type Sample = z.infer<typeof Sample>

/** What a job scrapes: `host:port`, and the labels that service discovery would give it. */
export type Target = {
  readonly job: string
  readonly address: string
  readonly labels?: Readonly<Record<string, string>>
}

export type PrometheusOptions = {
  readonly targets: readonly Target[]
  readonly rules: string
  readonly cleanUps: CleanUps
}

/** Starts one that scrapes and evaluates the rules each second. It keeps nothing. */
export async function startPrometheus(options: PrometheusOptions): Promise<Prometheus> {
  const { targets, rules, cleanUps } = options
  const directory = await temporaryDirectory(cleanUps)
  const file = join(directory, 'prometheus.yaml')
  const configuration = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [rules],
    scrape_configs: targets.map(({ job, address, labels = {} }) => ({
      job_name: job,
      static_configs: [{ targets: [address], labels }],
    })),
  }
  await writeFile(file, stringify(configuration))
  const url = `http://127.0.0.1:${await freePort()}`
  const args = [
    `--config.file=${file}`,
    `--storage.tsdb.path=${join(directory, 'data')}`,
    `--web.listen-address=${new URL(url).host}`,
    '--log.level=warn',
  ]
  const server = run({ file: find('prometheus'), args, env: {}, cwd: directory, cleanUps })
  let exit: Exit | undefined
  void server.exited.then((how) => (exit = how))
  const deadline = Date.now() + START_TIMEOUT_MS
  while ((await statusOf(`${url}/-/ready`)) !== 200) {
    if (exit !== undefined || Date.now() > deadline) {
      throw new Error(`Prometheus did not start: ${server.stderr()}`)
    }
    await sleep(20)
  }
  return new Prometheus(url)
}

/** The API. Every call throws when Prometheus calls it an error. */
export class Prometheus {
  readonly #url: string

  constructor(url: string) {
    this.#url = url
  }

  /** What a query comes to now. */
  async query(expr: string): Promise<readonly Sample[]> {
    return Vector.parse(await this.#get('query', { query: expr })).result
  }

  /** The values that a label has, of the series that match. */
  async labelValues(label: string, match: string): Promise<readonly string[]> {
    return z.array(z.string()).parse(await this.#get(`label/${label}/values`, { 'match[]': match }))
  }

  /** Every rule, after its latest evaluation. */
  async rules(): Promise<readonly z.infer<typeof Rule>[]> {
    return Groups.parse(await this.#get('rules')).groups.flatMap(({ rules }) => rules)
  }

  /** The alerts that are pending or firing. */
  async alerts(): Promise<readonly z.infer<typeof Alert>[]> {
    return z.object({ alerts: z.array(Alert) }).parse(await this.#get('alerts')).alerts
  }

  async #get(path: string, query: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const response = await fetch(
      `${this.#url}/api/v1/${path}?${new URLSearchParams(query).toString()}`,
    )
    const answer = z
      .object({ data: z.unknown(), error: z.string().optional(), warnings: z.unknown().optional() })
      .parse(await response.json())
    if (answer.error !== undefined || answer.warnings !== undefined) {
      throw new Error(
        `${JSON.stringify(query)}: ${answer.error ?? JSON.stringify(answer.warnings)}`,
      )
    }
    return answer.data
  }
}

/**
 * Runs promtool in a directory.
 *
 * @returns what it says
 * @throws Error with that, when it is not content
 */
export async function promtool(args: readonly string[], cwd: string): Promise<string> {
  try {
    const { stdout, stderr } = await execute(find('promtool'), args, { cwd })
    return stdout + stderr
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`promtool ${args.join(' ')}: ${stdout}${stderr}`, { cause: error })
  }
}

function find(name: string): string {
  const path = findProgram(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  return path
}
