/** The chart as helm renders it. */
import { execFile } from 'node:child_process'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parseAllDocuments, stringify } from 'yaml'
import { temporaryDirectory } from '../support/temporary.ts'
import { KUBERNETES, toolPath } from './tools.ts'

export const CHART = fileURLToPath(new URL('../../helm', import.meta.url))
const EXAMPLES = join(CHART, 'examples')
/** The names of the value files, without their ending. */
export const EXAMPLE_NAMES = readdirSync(EXAMPLES).map((file) => file.replace(/\.yaml$/, ''))

export const RELEASE = 'acme'
export const NAMESPACE = 'streams'
/** As the chart names its objects for this release. */
export const FULL_NAME = `${RELEASE}-durable-streams-gateway`

type Labels = Readonly<Record<string, string>>

/** An object of Kubernetes. */
export type Manifest = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Labels
    readonly annotations?: Labels
  }
  readonly spec: Spec
  readonly data?: Labels
}

/** The fields that tests look into, of whichever kind has them. */
export type Spec = {
  readonly template: {
    readonly metadata: { readonly labels: Labels; readonly annotations: Labels }
    readonly spec: PodSpec
  }
  readonly replicas?: number
  readonly strategy?: unknown
  readonly selector: { readonly matchLabels: Labels }
  readonly ingress: readonly PolicyRule[]
  readonly egress: readonly PolicyRule[]
  readonly policyTypes: readonly string[]
  readonly metrics: unknown
  readonly endpoints: readonly { readonly port: string }[]
  readonly groups: readonly {
    readonly name: string
    readonly rules: readonly { readonly annotations: Labels }[]
  }[]
  readonly loadBalancer?: unknown
  readonly circuitBreaker: unknown
  readonly lua: readonly { readonly inline: string }[]
}

export type PodSpec = {
  readonly containers: readonly [Container]
  readonly terminationGracePeriodSeconds: number
  readonly topologySpreadConstraints: unknown
  readonly volumes: unknown
}

export type Container = {
  readonly name: string
  readonly image: string
  readonly args: readonly string[]
  readonly env: readonly EnvironmentVariable[]
  readonly resources: { readonly limits: Labels }
  readonly lifecycle: { readonly preStop: unknown }
  readonly volumeMounts: unknown
}

type PolicyRule = {
  readonly ports: readonly { readonly port: number | string }[]
  readonly from: readonly [{ readonly podSelector: { readonly matchLabels: Labels } }]
}

type EnvironmentVariable = {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: {
    readonly secretKeyRef: {
      readonly name: string
      readonly key: string
      readonly optional?: boolean
    }
  }
}

export type Values = Readonly<Record<string, unknown>>

/** The values of an example, or what stands here in place of a file. */
export type Rendering = {
  readonly example?: string
  readonly values?: Values
  /** Another folder than the repository's. */
  readonly chart?: string
}

export const examplePath = (name: string): string => join(EXAMPLES, `${name}.yaml`)

/** @returns what helm wrote to standard output. @throws Error with its standard error. */
export async function helm(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { PATH = '', HOME = '' } = process.env
  const options = { env: { PATH, HOME, ...env }, maxBuffer: 64 * 1024 * 1024 }
  const { stdout } = await promisify(execFile)(toolPath('helm'), [...args], options)
  return stdout
}

/** The arguments that name chart and values; a file is made of values. */
export async function chartArguments(rendering: Rendering): Promise<string[]> {
  const { example, values, chart = CHART } = rendering
  const files = example === undefined ? [] : ['--values', examplePath(example)]
  if (values !== undefined) {
    const file = join(await temporaryDirectory(), 'values.yaml')
    await writeFile(file, stringify(values))
    files.push('--values', file)
  }
  return [chart, ...files]
}

/** All objects of a release, as `helm install` without a cluster would make them. */
export async function render(rendering: Rendering): Promise<Manifest[]> {
  const named = ['template', RELEASE, ...(await chartArguments(rendering))]
  const target = ['--namespace', NAMESPACE, '--kube-version', KUBERNETES]
  return parseManifests(await helm([...named, ...target]))
}

/** What `helm install` would say in the end, which helm tells only where there is a cluster. */
export async function notes({ values }: Rendering): Promise<string> {
  const template = await readFile(join(CHART, 'templates', 'NOTES.txt'), 'utf8')
  const chart = await chartWith({ 'NOTES.txt': template, 'templates/notes.yaml': AS_CONFIG_MAP })
  const { data } = only(await render({ chart, ...(values && { values }) }), 'ConfigMap', 'notes')
  return data?.['notes'] ?? ''
}

const AS_CONFIG_MAP = `apiVersion: v1
kind: ConfigMap
metadata:
  name: notes
data:
  notes: {{ tpl (.Files.Get "NOTES.txt") . | toJson }}
`

export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0) throw document.errors[0]!
    const content = document.toJS() as Manifest | null
    return content === null ? [] : [content]
  })
}

/** The one object of a kind, or the one of that name. */
export function only(manifests: readonly Manifest[], kind: string, name?: string): Manifest {
  const found = manifests.filter(
    (object) => object.kind === kind && (name === undefined || object.metadata.name === name),
  )
  if (found.length !== 1) throw new Error(`there are ${found.length} of ${kind} ${name ?? ''}`)
  return found[0]!
}

export function kinds(manifests: readonly Manifest[]): string[] {
  return manifests.map(({ kind }) => kind).sort()
}

/** The environment of the gateway's container, with what Secrets of the release say. */
export function environmentOf(manifests: readonly Manifest[]): Record<string, string> {
  const { env } = gatewayContainer(manifests)
  const secrets = manifests.filter(({ kind }) => kind === 'Secret')
  const pairs = env.flatMap(({ name, value, valueFrom }) => {
    if (valueFrom === undefined) return [[name, value ?? '']]
    const { name: secret, key } = valueFrom.secretKeyRef
    const data = secrets.find(({ metadata }) => metadata.name === secret)?.data
    const encoded = data?.[key]
    if (encoded !== undefined) return [[name, Buffer.from(encoded, 'base64').toString()]]
    // The Secret is not the release's: it has what it must have, and nothing else.
    return valueFrom.secretKeyRef.optional === true ? [] : [[name, 'from-a-secret-made-before']]
  })
  return Object.fromEntries(pairs) as Record<string, string>
}

export function gatewayDeployment(manifests: readonly Manifest[]): Manifest {
  const found = manifests.find(
    ({ kind, spec }) =>
      kind === 'Deployment' && spec.template.spec.containers[0].name === 'gateway',
  )
  if (found === undefined) throw new Error('there is no gateway')
  return found
}

export function gatewayContainer(manifests: readonly Manifest[]): Container {
  return gatewayDeployment(manifests).spec.template.spec.containers[0]
}

/** A copy of the chart with other rules and dashboards than its own. */
export async function chartWith(files: Readonly<Record<string, string>>): Promise<string> {
  const chart = join(await temporaryDirectory(), 'chart')
  await cp(CHART, chart, {
    recursive: true,
    filter: (path) => !/\/(rules|dashboards)$/.test(path),
  })
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(chart, name)), { recursive: true })
    await writeFile(join(chart, name), content)
  }
  return chart
}
