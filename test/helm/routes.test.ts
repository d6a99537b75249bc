/** What Ingress controllers and Gateways are told: events as they come, one path to one gateway. */
import { describe, expect, test } from 'vitest'
import { FULL_NAME, chartArguments, helm, kinds, notes, only, render } from './chart.ts'
import type { Values } from './chart.ts'
import { KUBERNETES, areMissing } from './tools.ts'

const S2 = { s2: { basin: 'acme-streams', accessToken: 'token' } }

async function annotations(controller: string, more: Values = {}): Promise<unknown> {
  const values = { ...S2, ingress: { enabled: true, controller }, ...more }
  return only(await render({ values }), 'Ingress').metadata.annotations
}

/** Annotations that every Ingress of a controller has, and those that route by stream. */
const CONTROLLERS = [
  {
    controller: 'ingress-nginx',
    always: {
      'nginx.ingress.kubernetes.io/proxy-buffering': 'off',
      'nginx.ingress.kubernetes.io/proxy-read-timeout': '75',
      'nginx.ingress.kubernetes.io/proxy-send-timeout': '75',
      'nginx.ingress.kubernetes.io/proxy-body-size': '0',
    },
    byStream: { 'nginx.ingress.kubernetes.io/upstream-hash-by': '$uri' },
  },
  {
    controller: 'nginx',
    always: {
      'nginx.org/proxy-buffering': 'False',
      'nginx.org/proxy-read-timeout': '75s',
      'nginx.org/proxy-send-timeout': '75s',
      'nginx.org/client-max-body-size': '0',
    },
    byStream: { 'nginx.org/lb-method': 'hash $uri consistent' },
  },
  {
    controller: 'haproxy',
    always: { 'haproxy.org/timeout-server': '75s' },
    byStream: {
      'haproxy.org/backend-config-snippet': 'balance uri path-only\nhash-type consistent',
    },
  },
  {
    controller: 'haproxy-ingress',
    always: {
      'haproxy-ingress.github.io/timeout-server': '75s',
      'haproxy-ingress.github.io/proxy-body-size': 'unlimited',
    },
    byStream: {
      'haproxy-ingress.github.io/balance-algorithm': 'uri path-only',
      'haproxy-ingress.github.io/config-backend': 'hash-type consistent',
    },
  },
]

describe.skipIf(areMissing('helm'))('an Ingress', () => {
  test.each(CONTROLLERS)(
    'for $controller hashes the path',
    async ({ controller, always, byStream }) => {
      expect(await annotations(controller)).toEqual({ ...always, ...byStream })
      const off = { routeByStream: { enabled: false } }
      expect(await annotations(controller, off)).toEqual(always)
    },
  )

  test('of ingress-nginx spreads streams that are too large for one gateway', async () => {
    expect(await annotations('ingress-nginx', { routeByStream: { subsetSize: 3 } })).toMatchObject({
      'nginx.ingress.kubernetes.io/upstream-hash-by-subset': 'true',
      'nginx.ingress.kubernetes.io/upstream-hash-by-subset-size': '3',
    })
  })

  test('of AWS keeps quiet connections, and pods as long as they need to leave', async () => {
    expect(await annotations('alb')).toEqual({
      'alb.ingress.kubernetes.io/target-type': 'ip',
      'alb.ingress.kubernetes.io/healthcheck-path': '/readyz',
      'alb.ingress.kubernetes.io/load-balancer-attributes': 'idle_timeout.timeout_seconds=75',
      'alb.ingress.kubernetes.io/target-group-attributes':
        'deregistration_delay.timeout_seconds=48,load_balancing.algorithm.type=least_outstanding_requests',
    })
  })

  test.each(['traefik', 'alb', 'other'])(
    'of %s is said not to route by stream',
    async (controller) => {
      const values = { ...S2, ingress: { enabled: true, controller } }
      await expect(notes({ values })).resolves.toContain('does not route by stream')
    },
  )

  test.each(['traefik', 'other'])('of %s needs no annotations', async (controller) => {
    expect(await annotations(controller)).toBeUndefined()
  })

  test('takes further annotations, which win', async () => {
    const more = { 'nginx.ingress.kubernetes.io/proxy-read-timeout': '300', 'example.com/a': 'b' }
    const ingress = { enabled: true, controller: 'ingress-nginx', annotations: more }
    expect(await annotations('ingress-nginx', { ingress })).toMatchObject(more)
  })

  test('is for its hosts, or for all', async () => {
    const backend = { service: { name: FULL_NAME, port: { name: 'http' } } }
    const http = { paths: [{ path: '/', pathType: 'Prefix', backend }] }
    const { spec } = only(await render({ example: 'ingress-nginx' }), 'Ingress')
    expect(spec).toEqual({
      ingressClassName: 'nginx',
      tls: [{ secretName: 'streams-tls', hosts: ['streams.example.com'] }],
      rules: [{ host: 'streams.example.com', http }],
    })
    const everywhere = await render({ values: { ...S2, ingress: { enabled: true } } })
    expect(only(everywhere, 'Ingress').spec).toEqual({ rules: [{ http }] })
  })
})

describe.skipIf(areMissing('helm'))('a route of the Gateway API', () => {
  test('has no time-out, and goes to the Service', async () => {
    const manifests = await render({ example: 'gateway-api' })
    expect(only(manifests, 'HTTPRoute').spec).toEqual({
      parentRefs: [{ name: 'public', namespace: 'envoy-gateway-system', sectionName: 'https' }],
      hostnames: ['streams.example.com'],
      rules: [
        {
          matches: [{ path: { type: 'PathPrefix', value: '/' } }],
          timeouts: { request: '0s', backendRequest: '0s' },
          backendRefs: [{ name: FULL_NAME, port: 80 }],
        },
      ],
    })
  })

  test('through Envoy Gateway hashes the path without the query', async () => {
    const manifests = await render({ example: 'gateway-api' })
    const targetRefs = [{ group: 'gateway.networking.k8s.io', kind: 'HTTPRoute', name: FULL_NAME }]
    const { spec } = only(manifests, 'BackendTrafficPolicy')
    expect(spec).toMatchObject({
      targetRefs,
      loadBalancer: {
        type: 'ConsistentHash',
        consistentHash: { type: 'Header', header: { name: 'x-durable-streams-path' } },
      },
    })
    const extension = only(manifests, 'EnvoyExtensionPolicy')
    expect(extension.spec).toMatchObject({ targetRefs, lua: [{ type: 'Inline' }] })
    expect(extension.spec.lua[0]?.inline).toContain('x-durable-streams-path')
  })

  test('lets more than 1,024 live reads through, also without routing by stream', async () => {
    const httpRoute = {
      enabled: true,
      parentRefs: [{ name: 'public' }],
      envoyGateway: { enabled: true, maxParallelRequests: 1_000_000 },
    }
    const values = { ...S2, httpRoute, routeByStream: { enabled: false } }
    const manifests = await render({ values })
    expect(kinds(manifests)).not.toContain('EnvoyExtensionPolicy')
    const { spec } = only(manifests, 'BackendTrafficPolicy')
    expect(spec.loadBalancer).toBeUndefined()
    expect(spec.circuitBreaker).toEqual({
      maxConnections: 1_000_000,
      maxPendingRequests: 1_000_000,
      maxParallelRequests: 1_000_000,
    })
    // As whoever renders it without Helm gets it: not as 1e+06.
    const given = [...(await chartArguments({ values })), '--kube-version', KUBERNETES]
    const text = await helm(['template', 'acme', ...given])
    expect(text).toContain('maxConnections: 1000000\n')
  })
})
