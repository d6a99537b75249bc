/** What the chart makes of values. */
import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { REPOSITORY } from '../support/gateway-process.ts'
import {
  CHART,
  EXAMPLE_NAMES,
  FULL_NAME,
  chartWith,
  environmentOf,
  examplePath,
  gatewayContainer,
  gatewayDeployment,
  helm,
  kinds,
  only,
  render,
} from './chart.ts'
import type { Manifest } from './chart.ts'
import { areMissing } from './tools.ts'

const BASE = ['Deployment', 'PodDisruptionBudget', 'Service', 'Service', 'ServiceAccount']
const TOKEN = { s2: { basin: 'acme-streams', accessToken: 'token' } }

describe.skipIf(areMissing('helm'))('the chart', () => {
  test('has six value files and more', () => {
    expect(EXAMPLE_NAMES.length).toBeGreaterThanOrEqual(6)
    expect(EXAMPLE_NAMES).toEqual(expect.arrayContaining(['minimal', 'managed-s2', 's2-lite']))
    expect(EXAMPLE_NAMES).toEqual(
      expect.arrayContaining(['ingress-nginx', 'gateway-api', 'everything']),
    )
  })

  test.each(EXAMPLE_NAMES)('lints with %s', async (example) => {
    await expect(helm(['lint', '--strict', CHART, '-f', examplePath(example)])).resolves.toContain(
      '1 chart(s) linted, 0 chart(s) failed',
    )
  })

  test.each(EXAMPLE_NAMES)('names and labels all objects with %s', async (example) => {
    const manifests = await render({ example })
    const names = manifests.map(({ kind, metadata }) => `${kind}/${metadata.name}`)
    expect(new Set(names).size).toBe(names.length)
    for (const { metadata } of manifests) {
      expect(metadata.labels).toMatchObject({
        'app.kubernetes.io/instance': 'acme',
        'app.kubernetes.io/managed-by': 'Helm',
      })
    }
  })

  test.each(EXAMPLE_NAMES)(
    'makes an environment that the gateway takes with %s',
    async (example) => {
      const manifests = await render({ example })
      expect(() => loadConfig(environmentOf(manifests))).not.toThrow()
    },
  )

  test('has the version of the package', async () => {
    const { version } = JSON.parse(await readFile(`${REPOSITORY}/package.json`, 'utf8')) as {
      version: string
    }
    expect(gatewayContainer(await render({ example: 'minimal' })).image).toBe(
      `durable-streams-gateway:${version}`,
    )
  })

  test.each([
    { example: 'minimal', more: ['Secret', 'Secret'] },
    { example: 'managed-s2', more: ['Ingress'] },
    { example: 'embedded', more: ['PersistentVolumeClaim', 'Secret'] },
    {
      example: 'gateway-api',
      more: ['BackendTrafficPolicy', 'EnvoyExtensionPolicy', 'HTTPRoute', 'Secret'],
    },
    {
      example: 's2-lite',
      more: ['Deployment', 'NetworkPolicy', 'Secret', 'Service', 'ServiceAccount'],
    },
  ])('makes what $example asks for and no more', async ({ example, more }) => {
    expect(kinds(await render({ example }))).toEqual([...BASE, ...more].sort())
  })

  test('makes everything', async () => {
    const chart = await chartWith({ 'rules/a.yaml': RULES, 'dashboards/a.json': '{}' })
    const found = new Set(kinds(await render({ example: 'everything', chart })))
    expect([...found].sort()).toEqual(EVERY_KIND)
  })
})

describe.skipIf(areMissing('helm'))('the pod', () => {
  test('is one that the Pod Security Standard `restricted` allows', async () => {
    const { template } = gatewayDeployment(await render({ example: 'minimal' })).spec
    expect(template.spec).toMatchObject({
      automountServiceAccountToken: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 1000,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      containers: [
        {
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
        },
      ],
    })
  })

  test('is alive by /healthz, ready by /readyz, and has resources', async () => {
    const container = gatewayContainer(await render({ example: 'minimal' }))
    const probe = (path: string, port = 'http'): object => ({ httpGet: { path, port } })
    expect(container).toMatchObject({
      startupProbe: probe('/healthz'),
      // On the other port connections above MAX_CONNECTIONS are dropped: it would be restarted.
      livenessProbe: probe('/healthz', 'metrics'),
      readinessProbe: probe('/readyz'),
      resources: { requests: { memory: '1Gi' }, limits: { memory: '2Gi' } },
      ports: [
        { name: 'http', containerPort: 4437 },
        { name: 'metrics', containerPort: 9464 },
      ],
    })
    expect(container.resources.limits['cpu']).toBeUndefined()
  })

  test.each([
    { shutdown: undefined, preStop: 10, graceMs: '30000', total: 48 },
    {
      shutdown: { graceMs: 90_500, preStopSeconds: 15 },
      preStop: 15,
      graceMs: '90500',
      total: 114,
    },
    { shutdown: { graceMs: 1_000_000 }, preStop: 10, graceMs: '1000000', total: 1018 },
  ])('outlives its drain: $total s', async ({ shutdown, preStop, graceMs, total }) => {
    const values = shutdown === undefined ? TOKEN : { ...TOKEN, shutdown }
    const manifests = await render({ values })
    const { spec } = gatewayDeployment(manifests).spec.template
    expect(spec.terminationGracePeriodSeconds).toBe(total)
    expect(spec.containers[0].lifecycle.preStop).toEqual({ sleep: { seconds: preStop } })
    expect(environmentOf(manifests)['SHUTDOWN_GRACE_MS']).toBe(graceMs)
  })

  test('is replaced by one that is ready, spread over nodes and zones', async () => {
    const { spec } = gatewayDeployment(await render({ example: 'minimal' }))
    expect(spec.strategy).toEqual({
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
    })
    expect(spec.template.spec.topologySpreadConstraints).toMatchObject([
      { topologyKey: 'kubernetes.io/hostname', labelSelector: spec.selector },
      { topologyKey: 'topology.kubernetes.io/zone', labelSelector: spec.selector },
    ])
  })

  test('may take as long as it has to be ready before the next one goes', async () => {
    const manifests = await render({ values: { ...TOKEN, minReadySeconds: 900 } })
    const { spec } = gatewayDeployment(manifests)
    // Kubernetes refuses one that is not longer.
    expect(spec).toMatchObject({ minReadySeconds: 900, progressDeadlineSeconds: 1500 })
  })

  test('has whole numbers and flags in its environment as they were written', async () => {
    const environment = environmentOf(await render({ example: 'everything' }))
    expect(environment).toMatchObject({
      MAX_HUBS_BYTES: '1073741824',
      MAX_CONNECTIONS: '40000',
      CORS_CREDENTIALS: 'true',
      READER_KEY_EPOCH: '0',
      LOG_LEVEL: 'warn',
      METRICS_PORT: '9464',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector.monitoring:4318',
    })
  })

  test('counts nothing, and has no port for it, when metrics are off', async () => {
    const manifests = await render({ values: { ...TOKEN, metrics: { enabled: false } } })
    const environment = environmentOf(manifests)
    expect(environment).toMatchObject({ METRICS: 'off' })
    expect(environment).not.toHaveProperty('METRICS_PORT')
    expect(gatewayContainer(manifests)).toMatchObject({
      ports: [{ name: 'http' }],
      livenessProbe: { httpGet: { port: 'http' } },
    })
    expect(kinds(manifests).filter((kind) => kind === 'Service')).toHaveLength(1)
  })

  test('with the embedded log is one at a time, on its disk', async () => {
    const manifests = await render({ example: 'embedded' })
    const { spec } = gatewayDeployment(manifests)
    expect(spec).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } })
    expect(spec.template.spec.volumes).toEqual([
      { name: 'data', persistentVolumeClaim: { claimName: `${FULL_NAME}-data` } },
    ])
    expect(gatewayContainer(manifests).volumeMounts).toEqual([{ name: 'data', mountPath: '/data' }])
    expect(environmentOf(manifests)['DATA_DIR']).toBe('/data')
  })
})

describe.skipIf(areMissing('helm'))('secrets', () => {
  test('are generated, each one another', async () => {
    const [once, again] = [
      await render({ example: 'minimal' }),
      await render({ example: 'minimal' }),
    ]
    const secrets = [once, again].flatMap((manifests) => {
      const { JWT_HS256_SECRETS, GATEWAY_SECRETS } = environmentOf(manifests)
      return [JWT_HS256_SECRETS, GATEWAY_SECRETS]
    })
    expect(new Set(secrets).size).toBe(4)
    for (const secret of secrets) expect(secret).toMatch(/^[A-Za-z0-9]{64}$/)
  })

  test('that are given are used, and pods replaced when they change', async () => {
    const [one, two] = ['1', '2'].map((text) => text.repeat(32))
    const given = (hs256Secrets: unknown) =>
      render({ values: { ...TOKEN, auth: { hs256Secrets } } })
    const [first, second] = [await given([one]), await given([two, one])]
    expect(environmentOf(second)['JWT_HS256_SECRETS']).toBe(`${two},${one}`)
    expect(checksum(first)).not.toBe(checksum(second))
  })

  test('that are generated do not replace pods', async () => {
    const [once, again] = [
      await render({ example: 'minimal' }),
      await render({ example: 'minimal' }),
    ]
    expect(checksum(once)).toBe(checksum(again))
  })

  test('that were made before are used by name, and none is generated', async () => {
    const manifests = await render({ example: 'managed-s2' })
    expect(kinds(manifests)).not.toContain('Secret')
    const { env } = gatewayContainer(manifests)
    expect(env).toContainEqual({
      name: 'S2_ACCESS_TOKEN',
      valueFrom: { secretKeyRef: { name: 's2-access-token', key: 'S2_ACCESS_TOKEN' } },
    })
    expect(env).toContainEqual({
      name: 'GATEWAY_SECRETS',
      valueFrom: {
        secretKeyRef: { name: 'gateway-secrets', key: 'GATEWAY_SECRETS', optional: true },
      },
    })
  })

  test('of tokens are not generated where an issuer signs them', async () => {
    const config = { JWT_JWKS_URL: 'https://login.example.com/jwks.json' }
    const { data } = only(
      await render({ values: { ...TOKEN, config } }),
      'Secret',
      `${FULL_NAME}-auth`,
    )
    expect(Object.keys(data ?? {})).toEqual(['GATEWAY_SECRETS'])
  })

  test('are none where everybody may do everything', async () => {
    const manifests = await render({ values: { ...TOKEN, auth: { mode: 'none' } } })
    expect(environmentOf(manifests)).toMatchObject({ AUTH: 'none' })
    expect(kinds(manifests).filter((kind) => kind === 'Secret')).toHaveLength(1)
  })
})

describe.skipIf(areMissing('helm'))('s2-lite', () => {
  test('is what the gateway talks to, one pod, in a bucket', async () => {
    const manifests = await render({ example: 's2-lite' })
    const deployment = only(manifests, 'Deployment', 'acme-s2-lite')
    const service = only(manifests, 'Service', 'acme-s2-lite')
    expect(environmentOf(manifests)).toMatchObject({
      S2_ENDPOINT: 'http://acme-s2-lite:80',
      S2_PRICES: 'none',
    })
    expect(service.spec).toMatchObject({ ports: [{ port: 80, targetPort: 'http' }] })
    expect(service.spec.selector).toEqual(deployment.spec.selector.matchLabels)
    expect(deployment.spec).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } })
    const [container] = deployment.spec.template.spec.containers
    expect(container.image).toBe('ghcr.io/s2-streamstore/s2:0.42.7')
    expect(container.args).toEqual([
      'lite',
      '--port=8080',
      '--no-cors',
      '--bucket=acme-streams',
      '--path=s2-lite',
    ])
    expect(container.env).toContainEqual({ name: 'AWS_REGION', value: 'eu-central-1' })
  })

  test('is reached by pods of the release only, because it asks for no token', async () => {
    const manifests = await render({ example: 's2-lite' })
    const policy = only(manifests, 'NetworkPolicy', 'acme-s2-lite')
    const { matchLabels } = policy.spec.ingress[0]!.from[0].podSelector
    expect(gatewayDeployment(manifests).spec.template.metadata.labels).toMatchObject(matchLabels)
  })

  test('elsewhere is reached by its URL, and needs no token', async () => {
    const values = { s2: { endpoint: 'http://s2-lite.storage:8080' } }
    expect(environmentOf(await render({ values }))).toMatchObject({
      S2_ENDPOINT: 'http://s2-lite.storage:8080',
    })
  })
})

describe.skipIf(areMissing('helm'))('monitoring', () => {
  test('takes all rules as they are, whatever is in braces', async () => {
    const chart = await chartWith({ 'rules/a.yaml': RULES, 'rules/b.yaml': MORE_RULES })
    const { spec, metadata } = only(
      await render({ example: 'everything', chart }),
      'PrometheusRule',
    )
    expect(spec.groups.map(({ name }) => name)).toEqual(['first', 'second'])
    expect(spec.groups[0]?.rules[0]?.annotations['summary']).toBe(
      '{{ $value | humanize }} of {{ $labels.pod }}',
    )
    expect(metadata.labels).toMatchObject({ release: 'prometheus' })
  })

  test('takes all dashboards as they are, for the sidecar', async () => {
    const dashboard = '{\n  "title": "{{ pod }}",\n  "panels": []\n}\n'
    const chart = await chartWith({ 'dashboards/a.json': dashboard, 'dashboards/b.json': '{}' })
    const { data, metadata } = only(await render({ example: 'everything', chart }), 'ConfigMap')
    expect(data).toEqual({ 'a.json': dashboard, 'b.json': '{}' })
    expect(metadata.labels).toMatchObject({ grafana_dashboard: '1' })
    expect(metadata.annotations).toEqual({ grafana_folder: 'Streams' })
  })

  test('scrapes the port of metrics by a Service of its own, leaving pods too', async () => {
    const manifests = await render({ example: 'everything' })
    const monitor = only(manifests, 'ServiceMonitor')
    const chosen = manifests.filter(
      ({ kind, metadata }) =>
        kind === 'Service' &&
        Object.entries(monitor.spec.selector.matchLabels).every(
          ([name, value]) => metadata.labels?.[name] === value,
        ),
    )
    expect(chosen.map(({ spec }) => spec)).toMatchObject([
      {
        clusterIP: 'None',
        publishNotReadyAddresses: true,
        ports: [{ name: monitor.spec.endpoints[0]?.port, port: 9464 }],
      },
    ])
  })

  test('scales by connections and CPU', async () => {
    const { spec } = only(await render({ example: 'everything' }), 'HorizontalPodAutoscaler')
    expect(spec.metrics).toEqual([
      {
        type: 'Pods',
        pods: {
          metric: { name: 'durable_streams_connections' },
          target: { type: 'AverageValue', averageValue: '10000' },
        },
      },
      {
        type: 'Resource',
        resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 70 } },
      },
    ])
    // Or each upgrade would undo what the autoscaler has done.
    expect(gatewayDeployment(await render({ example: 'everything' })).spec.replicas).toBeUndefined()
  })

  test('lets in requests and scrapes, and out what a gateway needs', async () => {
    const { spec } = only(await render({ example: 'everything' }), 'NetworkPolicy', 'acme-streams')
    expect(spec.policyTypes).toEqual(['Ingress', 'Egress'])
    const [ports, out] = [spec.ingress, spec.egress].map((rules) =>
      rules.flatMap((rule) => rule.ports.map(({ port }) => port)),
    )
    expect(ports).toEqual(['http', 'metrics'])
    expect(out).toEqual([53, 53, 443, 8080, 4318])
  })

  test.each([
    ['http://s2-lite.storage:8081', 8081],
    ['http://s2-lite.storage/', 80],
    ['https://[2001:db8::7]', 443],
    ['http://[2001:db8::7]:9000/', 9000],
  ])('lets out what goes to %s', async (endpoint, port) => {
    const values = { s2: { endpoint }, networkPolicy: { enabled: true } }
    const { spec } = only(await render({ values }), 'NetworkPolicy')
    expect(spec.egress.flatMap(({ ports }) => ports.map((rule) => rule.port))).toContain(port)
    expect(spec.egress).toHaveLength(3)
  })
})

function checksum(manifests: readonly Manifest[]): string {
  return gatewayDeployment(manifests).spec.template.metadata.annotations['checksum/secrets'] ?? ''
}

const RULES = `groups:
  - name: first
    rules:
      - alert: Full
        expr: durable_streams_connections > 18000
        for: 5m
        annotations:
          summary: '{{ $value | humanize }} of {{ $labels.pod }}'
`
const MORE_RULES = `groups:
  - name: second
    rules:
      - record: durable_streams:connections
        expr: sum(durable_streams_connections)
`
const EVERY_KIND = [
  'BackendTrafficPolicy',
  'ConfigMap',
  'Deployment',
  'EnvoyExtensionPolicy',
  'HTTPRoute',
  'HorizontalPodAutoscaler',
  'Ingress',
  'NetworkPolicy',
  'PodDisruptionBudget',
  'PrometheusRule',
  'Secret',
  'Service',
  'ServiceAccount',
  'ServiceMonitor',
]
