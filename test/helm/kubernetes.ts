/**
 * A real Kubernetes API server over a real etcd. Nothing else: no pods are started, and nobody
 * makes what follows from an object.
 */
import { generateKeyPairSync } from 'node:crypto'
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { stringify } from 'yaml'
import type { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { run } from '../support/gateway-process.ts'
import type { Running } from '../support/gateway-process.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import type { Manifest } from './chart.ts'
import { toolPath } from './tools.ts'

/** Five seconds are usual; the rest is for a busy machine. */
const START_TIMEOUT_MS = 90_000
const TOKEN = 'the-token-of-the-test'

export type Answer = {
  readonly status: number
  /** What the server says that it took nevertheless. */
  readonly warnings: readonly string[]
  readonly body: unknown
}

/** What a resource is called in URLs, and whether it is in a namespace. */
type Resource = { readonly path: string; readonly isNamespaced: boolean }

export class Kubernetes {
  readonly kubeconfig: string
  readonly #url: string
  readonly #agent = new Agent({ keepAlive: true, rejectUnauthorized: false })
  #resources = new Map<string, Resource>()

  constructor(url: string, kubeconfig: string) {
    this.#url = url
    this.kubeconfig = kubeconfig
  }

  /** Sends a request as who may do everything. */
  async call(method: string, path: string, body?: string, type?: string): Promise<Answer> {
    const headers = {
      authorization: `Bearer ${TOKEN}`,
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': type ?? 'application/json' }),
    }
    const options = { method, headers, agent: this.#agent }
    return new Promise((resolve, reject) => {
      const message = request(`${this.#url}${path}`, options, (response) => {
        const { statusCode = 0, headers: given } = response
        const warnings = [given['warning'] ?? []].flat()
        const isJson = given['content-type']?.includes('json') === true
        text(response).then((content) => {
          const parsed: unknown = isJson ? JSON.parse(content) : content
          resolve({ status: statusCode, warnings, body: parsed })
        }, reject)
      })
      message.on('error', reject).end(body)
    })
  }

  async get<Body>(path: string): Promise<Body> {
    const { status, body } = await this.call('GET', path)
    if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`)
    return body as Body
  }

  async createNamespace(name: string): Promise<void> {
    // Pods that `restricted` forbids get a warning.
    const labels = { 'pod-security.kubernetes.io/warn': 'restricted' }
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }
    const { status } = await this.call('POST', '/api/v1/namespaces', JSON.stringify(namespace))
    if (status !== 201) throw new Error(`namespace ${name}: ${status}`)
  }

  /** Tries to create an object, and creates nothing. A field that nobody knows is refused. */
  tryCreate(manifest: Manifest, namespace: string): Promise<Answer> {
    const query = 'dryRun=All&fieldValidation=Strict'
    const path = this.#collection(manifest, manifest.metadata.namespace ?? namespace)
    return this.call('POST', `${path}?${query}`, JSON.stringify(manifest))
  }

  /** The object as the server has it; undefined when there is none. */
  async find(manifest: Manifest, namespace: string): Promise<Manifest | undefined> {
    const path = this.#collection(manifest, manifest.metadata.namespace ?? namespace)
    const { status, body } = await this.call('GET', `${path}/${manifest.metadata.name}`)
    return status === 200 ? (body as Manifest) : undefined
  }

  /** `kind/name` of all that is in a namespace. */
  async everythingIn(namespace: string): Promise<string[]> {
    const lists = [...this.#resources.entries()].filter(([, { isNamespaced }]) => isNamespaced)
    const found = lists.map(async ([key, { path }]) => {
      const collection = path.replace('{namespace}', namespace)
      const { status, body } = await this.call('GET', collection)
      // Some can only be created: reviews of who may do what.
      if (status !== 200) return []
      const { items } = body as { items: readonly Manifest[] }
      return items.map(({ metadata }) => `${key.split(' ')[1] ?? ''}/${metadata.name}`)
    })
    return (await Promise.all(found)).flat().sort()
  }

  /** Makes others' resources known, and waits until they can be used. */
  async define(folder: string): Promise<void> {
    const files = await readdir(folder)
    const names = files.map(async (file) => {
      const definition = await readFile(join(folder, file), 'utf8')
      const name = /^ {2}name: (\S+)$/m.exec(definition)?.[1] ?? ''
      const path = `${DEFINITIONS}/${name}?fieldManager=test&force=true`
      const { status, body } = await this.call('PATCH', path, definition, APPLY)
      if (status !== 201) throw new Error(`${file}: ${status} ${JSON.stringify(body)}`)
      return name
    })
    for (const name of await Promise.all(names)) {
      await until(`${name} can be used`, async () => {
        const { status } = await this.get<Definition>(`${DEFINITIONS}/${name}`)
        return status.conditions?.some(
          ({ type, status: is }) => type === 'Established' && is === 'True',
        )
      })
    }
    await this.discover()
  }

  /** Learns which resources there are. */
  async discover(): Promise<void> {
    const { groups } = await this.get<{ groups: readonly Group[] }>('/apis')
    const versions = groups.flatMap((group) => group.versions.map((one) => one.groupVersion))
    const paths = ['/api/v1', ...versions.map((version) => `/apis/${version}`)]
    const lists = await Promise.all(paths.map((path) => this.get<ResourceList>(path)))
    const found = lists.flatMap(({ groupVersion, resources }, index) =>
      resources
        .filter(({ name }) => !name.includes('/'))
        .map(({ kind, name, namespaced: isNamespaced }): [string, Resource] => {
          const scope = isNamespaced ? '/namespaces/{namespace}' : ''
          const path = `${paths[index] ?? ''}${scope}/${name}`
          return [`${groupVersion} ${kind}`, { path, isNamespaced }]
        }),
    )
    this.#resources = new Map(found)
  }

  close(): void {
    this.#agent.destroy()
  }

  #collection({ apiVersion, kind }: Manifest, namespace: string): string {
    const resource = this.#resources.get(`${apiVersion} ${kind}`)
    if (resource === undefined) throw new Error(`the server has no ${apiVersion} ${kind}`)
    return resource.path.replace('{namespace}', namespace)
  }
}

const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
const APPLY = 'application/apply-patch+yaml'

type Group = { readonly versions: readonly { readonly groupVersion: string }[] }
type ResourceList = {
  readonly groupVersion: string
  readonly resources: readonly {
    readonly name: string
    readonly kind: string
    readonly namespaced: boolean
  }[]
}
type Definition = {
  readonly status: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
  }
}

/** Starts etcd and the API server, on free ports and with their data in a directory of the suite. */
export async function startKubernetes(cleanUps: CleanUps): Promise<Kubernetes> {
  const directory = await temporaryDirectory(cleanUps)
  const etcd = await startEtcd(join(directory, 'etcd'), cleanUps)
  const port = await freePort()
  const file = (name: string): string => join(directory, name)
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  await writeFile(file('accounts.pub'), publicKey.export({ type: 'spki', format: 'pem' }))
  await writeFile(file('accounts.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
  await writeFile(file('tokens.csv'), `${TOKEN},test,test,system:masters\n`)
  const options = {
    'etcd-servers': etcd,
    'bind-address': '127.0.0.1',
    'secure-port': port,
    // It makes a certificate for itself.
    'cert-dir': file('certificates'),
    'token-auth-file': file('tokens.csv'),
    'authorization-mode': 'RBAC',
    'service-account-issuer': 'https://kubernetes.default.svc',
    'service-account-key-file': file('accounts.pub'),
    'service-account-signing-key-file': file('accounts.key'),
    'service-cluster-ip-range': '10.0.0.0/24',
    'endpoint-reconciler-type': 'none',
    // It would have a controller, of which there is none, let go of volumes.
    'disable-admission-plugins': 'StorageObjectInUseProtection',
  }
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
  const server = run({ file: toolPath('kubeApiserver'), args, env: {}, cwd: directory, cleanUps })
  const url = `https://127.0.0.1:${port}`
  await writeFile(file('kubeconfig'), kubeconfig(url))
  const kubernetes = new Kubernetes(url, file('kubeconfig'))
  cleanUps.add(() => {
    kubernetes.close()
    return Promise.resolve()
  })
  await whileRunning(server, 'the API server is ready', async () => {
    return (await kubernetes.call('GET', '/readyz')).status === 200
  })
  await kubernetes.define(toolPath('definitions'))
  return kubernetes
}

async function startEtcd(directory: string, cleanUps: CleanUps): Promise<string> {
  const url = `http://127.0.0.1:${await freePort()}`
  const peers = `http://127.0.0.1:${await freePort()}`
  const options = {
    'data-dir': directory,
    'listen-client-urls': url,
    'advertise-client-urls': url,
    'listen-peer-urls': peers,
    'initial-advertise-peer-urls': peers,
    'initial-cluster': `default=${peers}`,
  }
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
  const etcd = run({ file: toolPath('etcd'), args, env: {}, cleanUps })
  await whileRunning(etcd, 'etcd is healthy', async () => (await fetch(`${url}/health`)).ok)
  return url
}

function kubeconfig(server: string): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'test', user: { token: TOKEN } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  })
}

type Check = () => Promise<boolean | undefined>

async function whileRunning(running: Running, what: string, isSo: Check): Promise<void> {
  let isGone = false
  void running.exited.then(() => (isGone = true))
  try {
    await until(what, () => {
      if (isGone) throw new Error('it has ended')
      return isSo().catch(() => false) // not listening yet
    })
  } catch (error) {
    throw new Error(`${String(error)}: ${running.stderr().slice(-4000)}`, { cause: error })
  }
}

async function until(what: string, isSo: Check): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS
  while ((await isSo()) !== true) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`)
    await sleep(50)
  }
}
