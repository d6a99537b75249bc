/** The doctor against real deployments: right ones pass, and of wrong ones it says what is wrong. */
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { JWT_ENV, tokenOf } from '../support/access-tokens.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { call } from '../support/http-calls.ts'
import { isMissing } from '../support/programs.ts'
import {
  examine,
  inHistory,
  inServer,
  settingsFor,
  startGatewayOf,
  startNginx,
  startNginxWithTls,
} from './doctor-site.ts'
import type { Change } from './doctor-site.ts'
import { PROXIES } from './proxies.ts'

const NGINX = { package: 'nginx openssl', programs: ['nginx', 'openssl'] }

/** Of plain HTTP, whatever is in front. */
const WITHOUT_TLS = ['http-version']

const TOKEN = ['--token', tokenOf({ sub: 'acme', scope: 'manage' }), '--stream-prefix', 'acme/']
const LIMITED = { ...JWT_ENV, LIMITS_SUBJECT: 'creates=20' }

describe.skipIf(isMissing(NGINX))('the doctor', () => {
  const cleanUps = new CleanUps()
  let gateway: string

  beforeAll(async () => {
    gateway = await startGatewayOf({}, cleanUps)
  })
  afterAll(() => cleanUps.run())

  describe('of what is right', () => {
    test('finds nothing wrong with a gateway', async () => {
      const { exitCode, named, finding } = await examine(gateway)
      expect([exitCode, named('fail'), named('warn')]).toEqual([0, [], WITHOUT_TLS])
      expect(named('skip')).toEqual(['private-streams', 'retry-after'])
      expect(finding('history').measured).toMatchObject({ sharedCache: false })
      expect(finding('collapsing').seen).toMatch(/^50 polls .* no shared cache seen$/)
      expect(finding('sse-idle').measured?.['heartbeats']).toBeGreaterThan(0)
    })

    test('finds nothing wrong with the recipe for a shared cache, and sees the cache', async () => {
      const url = await startNginx(gateway)
      const { exitCode, named, finding, proxies } = await examine(url)
      expect([exitCode, named('fail'), named('warn')]).toEqual([0, [], WITHOUT_TLS])
      expect(proxies).toEqual(['nginx'])
      expect(finding('history').measured).toMatchObject({ sharedCache: true })
      expect(finding('collapsing').measured).toMatchObject({ sharedCache: true, readers: 50 })
    })

    describe.each(PROXIES.map((proxy) => ({ proxy, name: proxy.package })))(
      'finds nothing wrong with the recipe for',
      ({ proxy, name }) => {
        test.skipIf(isMissing(proxy))(name, async () => {
          const ofTest = new CleanUps()
          onTestFinished(() => ofTest.run())
          const url = await proxy.start([gateway, gateway, gateway], ofTest)
          const { named, finding } = await examine(url)
          expect([named('fail'), named('warn')]).toEqual([[], WITHOUT_TLS])
          expect(finding('collapsing').measured).toMatchObject({ sharedCache: false })
        })
      },
    )

    test('counts what came from the cache, where that says so', async () => {
      const told = inServer('add_header X-Cache-Status $upstream_cache_status always;')
      const url = await startNginx(gateway, [told])
      const { finding } = await examine(url, '--only', 'collapsing')
      expect(finding('collapsing').measured).toMatchObject({ hits: 49 })
    })

    test('has nothing to warn of with TLS and HTTP/2', async () => {
      const trusting = await startGatewayOf({ TRUST_PROXY: '127.0.0.1' })
      const url = await startNginxWithTls(trusting, 'ssl http2')
      const { exitCode, named, finding } = await examine(url, '--insecure', '--strict')
      expect([exitCode, named('fail'), named('warn')]).toEqual([0, [], []])
      expect(finding('http-version').measured).toMatchObject({ alpn: 'h2', tls: true })
    })

    test('finds private streams private, and who is refused told when to come back', async () => {
      const env = { ...LIMITED, GATEWAY_SECRETS: 'g'.repeat(32) }
      const url = await startNginx(await startGatewayOf(env))
      const { exitCode, named, finding } = await examine(url, ...TOKEN)
      expect([exitCode, named('fail'), named('skip')]).toEqual([0, [], []])
      expect(finding('retry-after').measured?.['refused']).toBeGreaterThan(0)
      // By the reader key in their URLs.
      expect(finding('collapsing').measured).toMatchObject({ sharedCache: true })
    })

    test('tells pages that may read from those that may not', async () => {
      const origin = await startGatewayOf({ CORS_ORIGINS: 'https://app.example' })
      const cors = async (...args: readonly string[]) =>
        (await examine(origin, '--only', 'cors', ...args)).finding('cors')
      expect(await cors('--origin', 'https://app.example')).toMatchObject({ status: 'ok' })
      expect(await cors()).toMatchObject({ status: 'skip' })
      const refused = await cors('--origin', 'https://other.example')
      expect(refused).toMatchObject({ status: 'fail' })
      expect(settingsFor(refused, 'gateway')).toContain('CORS_ORIGINS')
    })
  })

  test.each([
    [10_000, 'warn', 'behind'],
    [120_000, 'fail', 'behind'],
    [-120_000, 'fail', 'ahead'],
  ])('sees a clock that is %i ms off', async (ms, status, direction) => {
    // That of the gateway, which is another process, stays.
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms })
    onTestFinished(() => void vi.useRealTimers())
    const { finding } = await examine(gateway, '--only', 'clock')
    const found = finding('clock')
    expect(found).toMatchObject({ status, seen: expect.stringContaining(direction) as string })
    expect(settingsFor(found, 'gateway')).toContain('NTP')
  })

  /** What is wrong, how it is made so, which checks fail for it, and what the first one names. */
  const WRONG: readonly {
    readonly what: string
    readonly changes: readonly Change[]
    readonly fails: readonly string[]
    readonly names: string
  }[] = [
    {
      what: 'buffers events',
      // HTTP/1.0 to the gateway is what nginx speaks when nobody says so.
      changes: [['proxy_http_version 1.1;', 'proxy_ignore_headers X-Accel-Buffering;']],
      fails: ['sse-delivery'],
      names: 'proxy_buffering off',
    },
    {
      what: 'ends what is silent',
      changes: [['proxy_read_timeout 75s', 'proxy_read_timeout 1100ms']],
      fails: ['sse-idle', 'long-poll-idle'],
      names: 'proxy_read_timeout 75s',
    },
    {
      what: 'keeps the tail',
      changes: [inHistory('proxy_ignore_headers Cache-Control; proxy_cache_valid 200 10s;')],
      fails: ['tail', 'existence'],
      names: 'no proxy_ignore_headers Cache-Control',
    },
    {
      what: 'keeps that a stream is not there',
      changes: [inHistory('proxy_ignore_headers Cache-Control; proxy_cache_valid 404 10s;')],
      fails: ['existence'],
      names: 'no proxy_ignore_headers Cache-Control',
    },
    {
      what: 'tells browsers to keep the tail',
      changes: [inServer('proxy_hide_header Cache-Control; add_header Cache-Control max-age=60;')],
      fails: ['tail'],
      names: 'proxy_cache_valid',
    },
    {
      what: 'leaves the query out of its keys',
      changes: [['"$http_host$request_uri"', '"$http_host$uri"']],
      fails: ['history', 'collapsing'],
      names: 'proxy_cache_key "$http_host$request_uri"',
    },
    {
      what: 'removes ETags',
      changes: [inServer('proxy_hide_header ETag;')],
      fails: ['history', 'headers'],
      names: 'no proxy_hide_header ETag',
    },
    {
      what: 'compresses events',
      changes: [inServer('gzip on; gzip_types text/event-stream; gzip_min_length 1;')],
      fails: ['sse-compression'],
      names: 'gzip_types (and brotli_types) without text/event-stream',
    },
    {
      what: 'hides what pages may read',
      changes: [inServer('proxy_hide_header Access-Control-Expose-Headers;')],
      fails: ['cors'],
      names: 'no proxy_hide_header Access-Control-*',
    },
    {
      what: 'removes all of CORS',
      changes: [
        inServer(
          ['Allow-Origin', 'Expose-Headers', 'Allow-Methods', 'Allow-Headers']
            .map((name) => `proxy_hide_header Access-Control-${name};`)
            .join('\n'),
        ),
      ],
      fails: ['cors'],
      names: 'no proxy_hide_header Access-Control-*',
    },
    {
      what: 'says twice who may read',
      changes: [inServer('add_header Access-Control-Allow-Origin * always;')],
      fails: ['cors'],
      names: 'no add_header Access-Control-* of its own',
    },
    {
      what: 'takes small bodies only',
      changes: [['client_max_body_size 0', 'client_max_body_size 100k']],
      fails: ['body-size'],
      names: 'client_max_body_size 0',
    },
    {
      what: 'has error pages of its own',
      changes: [inServer('proxy_intercept_errors on; error_page 404 409 = /404.html;')],
      fails: ['cors', 'refusals'],
      names: 'proxy_intercept_errors off',
    },
    {
      what: 'decodes paths',
      changes: [
        [
          'location /v1/stream/ {',
          `location ~ ^/v1/stream/(?<name>.*)$ {
            if ($request_method = PUT) { rewrite ^ /v1/stream/$name break; }`,
        ],
      ],
      fails: ['urls'],
      names: 'proxy_pass without a path',
    },
    {
      what: 'refuses escaped paths',
      changes: [inServer('if ($request_uri ~ "%25") { return 400; }')],
      fails: ['urls'],
      names: 'proxy_pass without a path',
    },
    {
      what: 'keeps Last-Event-ID to itself',
      changes: [inServer('proxy_set_header Last-Event-ID "";')],
      fails: ['headers'],
      names: 'proxy_set_header clears none of them',
    },
    {
      what: 'limits the connections of an address',
      changes: [
        ['server {\n', 'limit_conn_zone $binary_remote_addr zone=readers:1m;\nserver {\n'],
        inServer('limit_conn readers 20;'),
      ],
      fails: ['collapsing', 'retry-after'],
      names: 'limit_conn above',
    },
  ]

  describe('of an nginx that is wrong', () => {
    test.each(WRONG)('finds that it $what', async ({ changes, fails, names }) => {
      const url = await startNginx(gateway, changes)
      const { exitCode, named, finding, left } = await examine(url, '--timeout', '8')
      expect([exitCode, named('fail'), left]).toEqual([1, fails, []])
      expect(settingsFor(finding(fails[0] ?? ''), 'nginx')).toContain(names)
    })

    test('warns of a Location on another host', async () => {
      const host: Change = ['Host $http_host', 'Host gateway.internal']
      const url = await startNginx(gateway, [host])
      const { named, finding } = await examine(url, '--only', 'urls')
      expect(named('warn')).toEqual(['urls'])
      expect(settingsFor(finding('urls'), 'nginx')).toContain('proxy_set_header Host $http_host')
    })

    test('warns of connections that are not kept', async () => {
      const url = await startNginx(gateway, [inServer('keepalive_timeout 0;')])
      const { exitCode, named, finding } = await examine(url, '--only', 'keep-alive', '--strict')
      expect([exitCode, named('warn')]).toEqual([1, ['keep-alive']])
      expect(settingsFor(finding('keep-alive'), 'nginx')).toContain('keepalive_timeout 75s')
    })

    test('warns of TLS without HTTP/2', async () => {
      const url = await startNginxWithTls(gateway, 'ssl')
      const { named, finding } = await examine(url, '--only', 'http-version', '--insecure')
      expect(named('warn')).toEqual(['http-version'])
      expect(settingsFor(finding('http-version'), 'nginx')).toContain('ssl http2')
    })

    test('says which streams are left when none may be deleted', async () => {
      const guard = 'if ($request_method = DELETE) { return 405; }'
      const place = 'if ($ds_way = history) {'
      const url = await startNginx(gateway, [[place, `${guard}\n${place}`]])
      const { named, finding, left } = await examine(url, '--only', 'existence')
      expect(named('fail')).toEqual(['existence'])
      expect(
        finding('existence')
          .change.map(({ set }) => set)
          .join(),
      ).toContain('DELETE')
      expect(left).toHaveLength(2)
      for (const path of left) await call(`${gateway}${path}`, { method: 'DELETE' })
    })
  })

  describe('of streams that are not for everybody', () => {
    test('sees that a cache gives them to strangers', async () => {
      const url = await startNginx(await startGatewayOf(JWT_ENV), [
        ['"~^\\|."  private;', ''],
        inHistory('proxy_ignore_headers Cache-Control Vary; proxy_cache_valid 200 10s;'),
      ])
      const { exitCode, finding } = await examine(url, ...TOKEN, '--only', 'private-streams')
      const { status, seen } = finding('private-streams')
      expect([exitCode, status, seen]).toEqual([1, 'fail', expect.stringMatching(/^LEAK: history/)])
      const settings = settingsFor(finding('private-streams'), 'nginx')
      expect(settings).toContain('proxy_no_cache and proxy_cache_bypass $http_authorization')
    })

    test('warns where they are for everybody', async () => {
      const { finding } = await examine(gateway, ...TOKEN, '--only', 'private-streams')
      expect(finding('private-streams')).toMatchObject({ status: 'warn' })
    })

    test('sees that who is refused is not told when to come back', async () => {
      const origin = await startGatewayOf(LIMITED)
      const url = await startNginx(origin, [inServer('proxy_hide_header Retry-After;')])
      const { exitCode, finding } = await examine(url, ...TOKEN, '--only', 'retry-after')
      expect([exitCode, finding('retry-after').status]).toEqual([1, 'fail'])
      expect(settingsFor(finding('retry-after'), 'nginx')).toContain(
        'no proxy_hide_header Retry-After',
      )
    })
  })
})
