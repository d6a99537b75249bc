import { defineConfig } from 'vitest/config'

/** One config, one project per kind of suite. Suites named `*.s2.test.ts` need a real s2-lite. */
const project = (name: string, folder: string, extra: object = {}) => ({
  extends: true as const,
  test: {
    name,
    include: [`test/${folder}/**/*.test.ts`],
    exclude: ['test/**/*.s2.test.ts'],
    ...extra,
  },
})

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  test: {
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 20_000,
    hookTimeout: 30_000,
    projects: [
      project('unit', 'unit', { testTimeout: 5_000 }),
      project('integration', 'integration'),
      project('conformance', 'conformance', { testTimeout: 60_000 }),
      project('s2', '', {
        include: ['test/**/*.s2.test.ts'],
        exclude: [],
        testTimeout: 120_000,
        fileParallelism: false,
      }),
      project('chaos', 'chaos'),
      project('browser', 'browser', {
        globalSetup: ['test/browser/setup.ts'],
        fileParallelism: false,
        testTimeout: 60_000,
      }),
      project('cache', 'cache', {
        globalSetup: ['test/cache/setup.ts'],
        fileParallelism: false,
        testTimeout: 60_000,
      }),
      project('proxies', 'proxies', {
        globalSetup: ['test/proxies/setup.ts'],
        fileParallelism: false,
        testTimeout: 60_000,
      }),
      project('prometheus', 'prometheus', {
        globalSetup: ['test/prometheus/setup.ts'],
        fileParallelism: false,
        testTimeout: 120_000,
      }),
      project('helm', 'helm', {
        globalSetup: ['test/helm/setup.ts'],
        fileParallelism: false,
        testTimeout: 120_000,
        hookTimeout: 120_000,
      }),
      project('fuzz', 'fuzz'),
    ],
  },
})
