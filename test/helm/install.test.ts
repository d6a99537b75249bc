/** The chart's life in a real Kubernetes API. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import {
  EXAMPLE_NAMES,
  FULL_NAME,
  RELEASE,
  chartArguments,
  chartWith,
  environmentOf,
  gatewayDeployment,
  helm,
  only,
  parseManifests,
  render,
} from './chart.ts'
import type { Manifest, Rendering } from './chart.ts'
import { startKubernetes } from './kubernetes.ts'
import type { Kubernetes } from './kubernetes.ts'
import { KUBERNETES_TOOLS, areMissing } from './tools.ts'

const MONITORING = {
  'rules/a.yaml': `groups:
  - name: first
    rules:
      - alert: Full
        expr: durable_streams_connections > 18000
        for: 5m
        labels: { severity: warning }
        annotations: { summary: '{{ $value }}' }
`,
  'dashboards/a.json': '{"title":"Streams"}',
}

describe.skipIf(areMissing(...KUBERNETES_TOOLS))('in a real Kubernetes API', () => {
  const cleanUps = new CleanUps()
  let kubernetes: Kubernetes
  let home: string

  beforeAll(async () => {
    home = await temporaryDirectory(cleanUps)
    kubernetes = await startKubernetes(cleanUps)
  })
  afterAll(() => cleanUps.run())

  /** Runs helm against the server, with what it keeps in a directory of the suite. */
  async function inCluster(
    command: string,
    namespace: string,
    rendering?: Rendering,
  ): Promise<string> {
    const chart = rendering === undefined ? [] : await chartArguments(rendering)
    const target = ['--kubeconfig', kubernetes.kubeconfig, '--namespace', namespace]
    return helm([...command.split(' '), ...chart, ...target], {
      HELM_CACHE_HOME: `${home}/cache`,
      HELM_CONFIG_HOME: `${home}/config`,
      HELM_DATA_HOME: `${home}/data`,
    })
  }

  /** What the release has in the cluster, as the cluster has it. */
  async function released(namespace: string): Promise<Manifest[]> {
    const wanted = parseManifests(await inCluster(`get manifest ${RELEASE}`, namespace))
    return Promise.all(wanted.map((manifest) => found(manifest, namespace)))
  }

  async function found(manifest: Manifest, namespace: string): Promise<Manifest> {
    const object = await kubernetes.find(manifest, namespace)
    if (object === undefined) throw new Error(`no ${manifest.kind} ${manifest.metadata.name}`)
    // What the server sends of one object has neither, in some versions.
    return { ...object, apiVersion: manifest.apiVersion, kind: manifest.kind }
  }

  test.each(EXAMPLE_NAMES)('every object of %s is accepted, each field known', async (example) => {
    const namespace = `strict-${example}`
    await kubernetes.createNamespace(namespace)
    const chart = await chartWith(MONITORING)
    for (const manifest of await render({ example, chart })) {
      const { status, body, warnings } = await kubernetes.tryCreate(manifest, namespace)
      const { kind } = manifest
      const message = (body as { message?: string }).message
      expect({ kind, status, message, warnings }).toEqual({
        kind,
        status: 201,
        message: undefined,
        warnings: [],
      })
    }
  })

  test('the server does refuse what it does not know', async () => {
    await kubernetes.createNamespace('unknown-field')
    const [service] = (await render({ example: 'minimal' })).filter(
      ({ kind }) => kind === 'Service',
    )
    const wrong = { ...service!, spec: { ...service!.spec, sticky: true } }
    const { status, body } = await kubernetes.tryCreate(wrong, 'unknown-field')
    expect({ status, body }).toMatchObject({ status: 400, body: { message: /spec.sticky/ } })
  })

  test.each(EXAMPLE_NAMES)('%s is installed, upgraded, rolled back and gone', async (example) => {
    const namespace = `life-${example}`
    const chart = await chartWith(MONITORING)
    await kubernetes.createNamespace(namespace)
    const before = await kubernetes.everythingIn(namespace)

    await inCluster(`install ${RELEASE}`, namespace, { example, chart })
    const first = await released(namespace)
    expect(first.length).toBeGreaterThan(4)
    expect((await kubernetes.everythingIn(namespace)).length).toBeGreaterThan(before.length + 4)

    const values = { config: { LOG_LEVEL: 'debug' } }
    await inCluster(`upgrade ${RELEASE}`, namespace, { example, chart, values })
    const second = await released(namespace)
    expect(environmentOf(second)['LOG_LEVEL']).toBe('debug')
    expect(dataOfSecrets(second)).toEqual(dataOfSecrets(first))

    await inCluster(`rollback ${RELEASE} 1`, namespace)
    const third = await released(namespace)
    expect(gatewayDeployment(third).spec).toEqual(gatewayDeployment(first).spec)
    expect(dataOfSecrets(third)).toEqual(dataOfSecrets(first))

    await inCluster(`uninstall ${RELEASE}`, namespace)
    expect(await kubernetes.everythingIn(namespace)).toEqual(before)
  })

  test('generated secrets outlive upgrades, until others are given', async () => {
    const namespace = 'secrets'
    await kubernetes.createNamespace(namespace)
    await inCluster(`install ${RELEASE}`, namespace, { example: 'minimal' })
    const generated = environmentOf(await released(namespace))

    await inCluster(`upgrade ${RELEASE}`, namespace, {
      example: 'minimal',
      values: { replicaCount: 5 },
    })
    const kept = environmentOf(await released(namespace))
    expect(kept).toEqual(generated)

    const given = 'a-secret-of-ours-0123456789abcdef'
    const values = { auth: { hs256Secrets: [given, generated['JWT_HS256_SECRETS']] } }
    await inCluster(`upgrade ${RELEASE}`, namespace, { example: 'minimal', values })
    const rotated = environmentOf(await released(namespace))
    expect(rotated['JWT_HS256_SECRETS']).toBe(`${given},${generated['JWT_HS256_SECRETS'] ?? ''}`)
    expect(rotated['GATEWAY_SECRETS']).toBe(generated['GATEWAY_SECRETS'])

    // Those that were made before take the place of the release's.
    expect(await kubernetes.everythingIn(namespace)).toContain(`Secret/${FULL_NAME}-auth`)
    const existing = { auth: { existingSecret: 'ours' } }
    await inCluster(`upgrade ${RELEASE}`, namespace, { example: 'minimal', values: existing })
    expect(await kubernetes.everythingIn(namespace)).not.toContain(`Secret/${FULL_NAME}-auth`)
  })

  test('two releases in one namespace have nothing in common', async () => {
    const namespace = 'two'
    await kubernetes.createNamespace(namespace)
    await inCluster(`install ${RELEASE}`, namespace, { example: 's2-lite' })
    const values = { fullnameOverride: 'other' }
    await inCluster('install other', namespace, { example: 's2-lite', values })
    const service = await kubernetes.get<Manifest>(`/api/v1/namespaces/${namespace}/services/other`)
    const pods = only(await released(namespace), 'Deployment', FULL_NAME).spec.template
    expect(pods.metadata.labels).not.toMatchObject(service.spec.selector)
  })
})

function dataOfSecrets(manifests: readonly Manifest[]): unknown {
  const secrets = manifests.filter(({ kind }) => kind === 'Secret')
  return secrets.map(({ metadata, data }) => ({ name: metadata.name, data }))
}
