/** Imports point one way: which layer may know which is a decision, and it is kept here. */
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

const SRC = resolve(import.meta.dirname, '../../src')
const PURE_BUILTINS = ['node:buffer', 'node:http', 'node:net']

/** Where the layers say what can be heard of them: types, and the closed sets of their labels. */
const OBSERVERS = [
  'log/log-observer.ts',
  'hub/hub-observer.ts',
  'hub/hub.ts',
  'hub/machine.ts',
  'http/http-observer.ts',
  'http/event-sink.ts',
  'http/admission.ts',
  'http/problem.ts',
  'streams/append-observer.ts',
  'streams/chunks.ts',
  'subscriptions/subscription-observer.ts',
  'auth/key-source.ts',
  'protocol/caching.ts',
]

/** What the files under a prefix may import: other prefixes of src, and packages. First match. */
const RULES: readonly { from: string; may: readonly string[] }[] = [
  { from: 'protocol/', may: ['protocol/', 'errors.ts', 'node:buffer'] },
  { from: 'errors.ts', may: ['protocol/offset.ts'] },
  { from: 'clock.ts', may: [] },
  { from: 'config-values.ts', may: ['zod', 'node:net'] },
  {
    from: 'config',
    may: ['config-', 'zod', 'node:net', 'protocol/', 'errors.ts', 'metrics/prices.ts'],
  },
  { from: 'log/log.ts', may: [] },
  { from: 'log/log-observer.ts', may: [] },
  // Those who tell of their work know to whom, and not how it gets on.
  { from: 'tracing/tracing.ts', may: [] },
  { from: 'tracing/diagnostics.ts', may: [] },
  { from: 'tracing/deliveries.ts', may: ['tracing/tracing.ts'] },
  { from: 'tracing/traced-log.ts', may: ['tracing/tracing.ts', 'log/'] },
  {
    from: 'tracing/opentelemetry.ts',
    may: ['tracing/', 'protocol/traceparent.ts', '@opentelemetry/', 'node:async_hooks'],
  },
  { from: 'log/observed-log.ts', may: ['log/log.ts', 'log/log-observer.ts', 'errors.ts'] },
  { from: 'log/append-pipeline.ts', may: ['log/log.ts', 'errors.ts'] },
  { from: 'log/open-logs.ts', may: ['log/log.ts', 'errors.ts', 'clock.ts'] },
  {
    from: 'log/project-',
    may: [
      'log/log.ts',
      'log/append-pipeline.ts',
      'log/open-logs.ts',
      'log/project-',
      'errors.ts',
      'clock.ts',
    ],
  },
  {
    from: 'log/s2-',
    may: [
      'log/log.ts',
      'log/append-pipeline.ts',
      'log/log-observer.ts',
      'log/project-log.ts',
      'log/s2-',
      'errors.ts',
      'clock.ts',
      '@s2-dev/streamstore',
      'undici',
      'node:',
    ],
  },
  {
    from: 'log/embedded-',
    may: [
      'log/log.ts',
      'log/append-pipeline.ts',
      'log/embedded-',
      'errors.ts',
      'clock.ts',
      'classic-level',
      'lru-cache',
      'node:',
    ],
  },
  {
    from: 'journal/',
    may: ['journal/', 'log/log.ts', 'tracing/tracing.ts', 'errors.ts', 'clock.ts'],
  },
  {
    from: 'streams/',
    may: [
      'streams/',
      'journal/',
      'log/log.ts',
      'tracing/tracing.ts',
      'protocol/',
      'errors.ts',
      'clock.ts',
      'zod',
      'immutable',
      'lru-cache',
      'node:crypto',
    ],
  },
  {
    from: 'subscriptions/',
    may: [
      'subscriptions/',
      'streams/service.ts',
      'streams/lineage.ts',
      'streams/watch.ts',
      'journal/',
      'log/log.ts',
      'tracing/tracing.ts',
      'protocol/',
      'errors.ts',
      'clock.ts',
      'zod',
      'immutable',
      'lru-cache',
      'undici',
      'node:crypto',
      'node:dns',
      'node:net',
    ],
  },
  {
    from: 'hub/',
    may: [
      'hub/',
      'streams/codec.ts',
      'streams/lineage.ts',
      'streams/visible.ts',
      'log/log.ts',
      'protocol/',
      'errors.ts',
      'clock.ts',
    ],
  },
  {
    from: 'auth/',
    may: [
      'auth/',
      'protocol/',
      'errors.ts',
      'clock.ts',
      'jose',
      'lru-cache',
      'undici',
      'zod',
      'node:crypto',
      'node:fs',
    ],
  },
  {
    from: 'http/',
    may: [
      'http/',
      'auth/',
      'hub/',
      'streams/',
      'subscriptions/',
      'tracing/tracing.ts',
      'protocol/',
      'errors.ts',
      'clock.ts',
      'fastify',
      '@fastify/cors',
      '@fastify/proxy-addr',
      'lru-cache',
      'zod',
      'node:perf_hooks',
      ...PURE_BUILTINS,
    ],
  },
  {
    // It sees what clients see, and nothing of the gateway that it looks at.
    from: 'doctor/',
    may: [
      'doctor/',
      'node:crypto',
      'node:events',
      'node:http',
      'node:https',
      'node:net',
      'node:stream',
      'node:string_decoder',
      'node:timers/promises',
      'node:tls',
      'node:util',
      'node:zlib',
    ],
  },
  { from: 'cli.ts', may: ['doctor/doctor.ts'] },
  // What is pure of it; what hears of a layer; and the page, which knows prom-client.
  { from: 'metrics/prices.ts', may: [] },
  { from: 'metrics/bill.ts', may: ['metrics/prices.ts'] },
  { from: 'metrics/metrics.ts', may: [...OBSERVERS, 'metrics/bill.ts'] },
  { from: 'metrics/instruments.ts', may: ['prom-client'] },
  {
    from: 'metrics/',
    may: ['metrics/', ...OBSERVERS, 'config.ts', 'clock.ts', 'prom-client', 'node:fs'],
  },
  { from: 'app.ts', may: [''] },
  { from: 'main.ts', may: [''] },
]

function sourceFiles(): string[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.ts'),
  )
}

/** Imported modules: paths from src for our own, names for packages. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(SRC, file), 'utf8')
  return [
    ...text.matchAll(/^(?:import|export)\s[^'"]*?from\s+'([^']+)'|^import\s+'([^']+)'/gms),
  ].map(([, from = '', bare = '']) => {
    const name = from === '' ? bare : from
    return name.startsWith('.') ? relative(SRC, resolve(SRC, dirname(file), name)) : name
  })
}

describe('layers', () => {
  test.each(sourceFiles())('%s imports only what its layer may', (file) => {
    const rule = RULES.find(({ from }) => file.startsWith(from))
    expect(rule, 'every file belongs to a layer').toBeDefined()
    const forbidden = importsOf(file).filter(
      (name) => !rule!.may.some((allowed) => name.startsWith(allowed)),
    )
    expect(forbidden).toEqual([])
  })

  test('pure modules touch no clock, no chance, no timers', () => {
    const pure = sourceFiles().filter(
      (file) =>
        file.startsWith('protocol/') ||
        ['hub/machine.ts', 'hub/ring.ts', 'hub/frames.ts'].includes(file) ||
        (/^(?:journal|streams|auth)\//.test(file) &&
          readFileSync(join(SRC, file), 'utf8').includes('PURE.')),
    )
    const impure = pure.filter((file) =>
      /Date\.now|Math\.random|setTimeout|setInterval|setImmediate|process\./.test(
        readFileSync(join(SRC, file), 'utf8'),
      ),
    )
    expect(pure.length).toBeGreaterThan(10)
    expect(impure).toEqual([])
  })

  test('OpenTelemetry is loaded by nobody who does not ask for it', () => {
    const importers = (isOne: (name: string) => boolean): string[] =>
      sourceFiles().filter((file) => importsOf(file).some(isOne))
    expect(importers((name) => name.startsWith('@opentelemetry/'))).toEqual([
      'tracing/opentelemetry.ts',
    ])
    expect(importers((name) => name === 'tracing/opentelemetry.ts')).toEqual([])
  })

  test('reads of the environment stay with the commands', () => {
    const readers = sourceFiles().filter((file) =>
      readFileSync(join(SRC, file), 'utf8').includes('process.env'),
    )
    expect(readers.sort()).toEqual(['cli.ts', 'main.ts'])
  })
})
