/** What the schema lets through, and that nothing is left out of it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { VARIABLE_NAMES } from '../../src/config.ts'
import { CHART, EXAMPLE_NAMES, gatewayContainer, render } from './chart.ts'
import type { Values } from './chart.ts'
import { areMissing } from './tools.ts'

const S2 = { basin: 'acme-streams', accessToken: 'token' }
const S2_LITE = { enabled: true, objectStorage: { bucket: 'b' } }

/** Variables that have a value of their own in the chart, or none that would make sense. */
const NOT_IN_CONFIG = [
  'HOST',
  'PORT',
  'METRICS',
  'METRICS_PORT',
  'METRICS_HOST',
  'DATA_DIR',
  'S2_ENDPOINT',
  'S2_ACCESS_TOKEN',
  'S2_BASIN',
  'S2_BASIN_PREFIX',
  'TENANCY',
  'AUTH',
  'JWT_HS256_SECRETS',
  'JWT_HS384_SECRETS',
  'JWT_HS512_SECRETS',
  'GATEWAY_SECRETS',
  'SHUTDOWN_GRACE_MS',
]

describe.skipIf(areMissing('helm'))('values are refused', () => {
  test.each<{ why: string; values: Values; says: RegExp }>([
    { why: 'an unknown name', values: { replicas: 3 }, says: /replicas/ },
    { why: 'an unknown name further in', values: { image: { name: 'a' } }, says: /name/ },
    { why: 'a wrong type', values: { replicaCount: '3' }, says: /replicaCount/ },
    { why: 'no such variable', values: { config: { MAX_CONECTIONS: 1 } }, says: /MAX_CONECTIONS/ },
    { why: 'a variable that the chart sets', values: { config: { PORT: 80 } }, says: /PORT/ },
    {
      why: 'a secret in plain sight',
      values: { config: { S2_ACCESS_TOKEN: 'a' } },
      says: /S2_ACC/,
    },
    { why: 'a list as a variable', values: { config: { LOG_LEVEL: ['a'] } }, says: /LOG_LEVEL/ },
    { why: 'a short secret', values: { auth: { hs256Secrets: ['short'] } }, says: /hs256Secrets/ },
    { why: 'no such mode', values: { auth: { mode: 'basic' } }, says: /mode/ },
    { why: 'no such controller', values: { ingress: { controller: 'kong' } }, says: /controller/ },
    { why: 'no basin’s name', values: { s2: { ...S2, basin: 'Acme' } }, says: /basin/ },
    { why: 'no URL', values: { s2: { endpoint: 'localhost:8080' } }, says: /endpoint/ },
    { why: 'no time', values: { serviceMonitor: { interval: '15' } }, says: /interval/ },
    { why: 'no size', values: { embedded: { persistence: { size: 'big' } } }, says: /size/ },
    { why: 'a drain of no time', values: { shutdown: { graceMs: 0 } }, says: /graceMs/ },
    {
      why: 'an unknown name of s2-lite',
      values: { s2Lite: { ...S2_LITE, replicas: 2 } },
      says: /replicas/,
    },
  ])('for $why', async ({ values, says }) => {
    const error = await refusal({ s2: S2, ...values })
    expect(error).toMatch(/don't meet the specifications of the schema/)
    expect(error).toMatch(says)
  })

  test.each<{ why: string; values: Values; says: RegExp }>([
    { why: 'no place for streams', values: {}, says: /managed S2 needs a token/ },
    { why: 'no basin', values: { s2: { accessToken: 'a' } }, says: /needs s2.basin/ },
    {
      why: 'two places for streams',
      values: { s2Lite: S2_LITE, embedded: { enabled: true } },
      says: /embedded.enabled, s2Lite.enabled name several/,
    },
    {
      why: 'S2 and an embedded log',
      values: { s2: S2, embedded: { enabled: true } },
      says: /keeps nothing in S2/,
    },
    {
      why: 'several pods on a disk',
      values: { embedded: { enabled: true }, autoscaling: { enabled: true } },
      says: /one pod/,
    },
    {
      why: 's2-lite without a bucket',
      values: { s2Lite: { enabled: true } },
      says: /needs a place/,
    },
    {
      why: 's2-lite with two places',
      values: { s2Lite: { ...S2_LITE, inMemory: true } },
      says: /s2Lite.objectStorage.bucket, s2Lite.inMemory name several/,
    },
    {
      why: 'projects without basins',
      values: { s2: { accessToken: 'a' }, tenancy: 'project' },
      says: /s2.basinPrefix/,
    },
    {
      why: 'basins without projects',
      values: { s2: { ...S2, basinPrefix: 'a' } },
      says: /tenancy/,
    },
    {
      why: 'keys that nobody asks for',
      values: { s2: S2, auth: { mode: 'none' }, config: { JWT_JWKS_URL: 'https://a.example/' } },
      says: /lets everybody in/,
    },
    {
      why: 'a port that the streams have',
      values: { s2: S2, metrics: { port: 4437 } },
      says: /metrics.port is a port of its own/,
    },
    {
      why: 'secrets twice',
      values: { s2: S2, auth: { existingSecret: 'a', gatewaySecrets: ['1'.repeat(32)] } },
      says: /auth.existingSecret/,
    },
    {
      why: 'tokens twice',
      values: { s2: { ...S2, existingSecret: 'a' } },
      says: /s2.existingSecret/,
    },
    {
      why: 'a route to nowhere',
      values: { s2: S2, httpRoute: { enabled: true } },
      says: /parentRefs/,
    },
    {
      why: 'policies without a route',
      values: { s2: S2, httpRoute: { envoyGateway: { enabled: true } } },
      says: /httpRoute.enabled/,
    },
    {
      why: 'monitoring without metrics',
      values: {
        s2: S2,
        metrics: { enabled: false },
        serviceMonitor: { enabled: true },
        prometheusRule: { enabled: true },
      },
      says: /serviceMonitor.enabled needs[^]*prometheusRule.enabled needs/,
    },
    {
      why: 'scaling by nothing',
      values: {
        s2: S2,
        autoscaling: { enabled: true, connectionsPerPod: 0, targetCPUUtilizationPercentage: 0 },
      },
      says: /needs connectionsPerPod or/,
    },
    {
      why: 'fewer at most than at least',
      values: { s2: S2, autoscaling: { enabled: true, minReplicas: 5, maxReplicas: 4 } },
      says: /at least/,
    },
  ])('for $why, in words', async ({ values, says }) => {
    expect(await refusal(values)).toMatch(says)
  })
})

describe('the schema', () => {
  test('knows the variables of the gateway', () => {
    const { properties } = schemaOf('') as SchemaWithConfig
    const names = properties.config.propertyNames.enum
    expect([...names, ...NOT_IN_CONFIG].sort()).toEqual(VARIABLE_NAMES.toSorted())
  })

  test.each(['', 'charts/s2-lite/'])('has each value of %svalues.yaml, and no other', (folder) => {
    const values = valuesOf(folder)
    const { properties } = schemaOf(folder)
    const inSchema = Object.keys(properties).filter((name) => name !== 'global')
    expect(inSchema.sort()).toEqual(Object.keys(values).sort())
    for (const [name, value] of Object.entries(values)) {
      const inner = properties[name]?.properties
      if (inner === undefined || name === 's2Lite') continue
      expect({ [name]: Object.keys(inner).sort() }).toEqual({
        [name]: Object.keys(value as object).sort(),
      })
    }
  })

  test.each(['', 'charts/s2-lite/'])('of %svalues.yaml: each value has a comment', (folder) => {
    const lines = readFileSync(join(CHART, folder, 'values.yaml'), 'utf8').split('\n')
    const top = lines.flatMap((line, index) => (/^[A-Za-z]\w*:/.test(line) ? [index] : []))
    // A comment stands above, or above those it is said of together; or within.
    const bare = top.filter((index) => {
      const above = lines.slice(0, index).reverse()
      const group = above.slice(
        0,
        above.findIndex((line) => line === '' || /^\s/.test(line)),
      )
      const within = lines.slice(index + 1)
      const end = within.findIndex((line) => line !== '' && !/^\s/.test(line))
      return ![...group, ...within.slice(0, end)].some((line) => line.trim().startsWith('#'))
    })
    expect(bare.map((index) => lines[index])).toEqual([])
  })
})

describe.skipIf(areMissing('helm'))('the pod', () => {
  test.each(EXAMPLE_NAMES)(
    'has no variable that the gateway does not read, with %s',
    async (example) => {
      const { env } = gatewayContainer(await render({ example }))
      const names = env.map(({ name }) => name).filter((name) => !name.startsWith('OTEL_'))
      expect(new Set(names).size).toBe(names.length)
      const known = new Set([...VARIABLE_NAMES, 'METRICS_PORT'])
      expect(names.filter((name) => !known.has(name))).toEqual([])
    },
  )

  test('can have all that are not set otherwise', async () => {
    const { properties } = schemaOf('') as SchemaWithConfig
    const names = properties.config.propertyNames.enum
    const config = Object.fromEntries(names.map((name) => [name, 'text']))
    const { env } = gatewayContainer(await render({ values: { s2: S2, config } }))
    for (const name of names) expect(env).toContainEqual({ name, value: 'text' })
  })
})

type Schema = {
  readonly properties: Readonly<Record<string, { readonly properties?: object }>>
}
type SchemaWithConfig = {
  readonly properties: { readonly config: { readonly propertyNames: { readonly enum: string[] } } }
}

function schemaOf(folder: string): Schema {
  return JSON.parse(readFileSync(join(CHART, folder, 'values.schema.json'), 'utf8')) as Schema
}

function valuesOf(folder: string): Values {
  return parse(readFileSync(join(CHART, folder, 'values.yaml'), 'utf8')) as Values
}

/** What helm says against the values. */
async function refusal(values: Values): Promise<string> {
  try {
    await render({ values })
  } catch (error) {
    return String(error)
  }
  throw new Error('the values were taken')
}
