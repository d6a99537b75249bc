import { readFileSync } from 'node:fs'
import { Map } from 'immutable'
import { describe, expect, test } from 'vitest'
import {
  renderClaim,
  renderError,
  renderSubscription,
} from '../../../src/http/render-subscription.ts'
import { SubscriptionError } from '../../../src/subscriptions/errors.ts'
import type { SubscriptionErrorCode } from '../../../src/subscriptions/errors.ts'
import type { Link, Subscription, WakePhase } from '../../../src/subscriptions/subscription.ts'
import { PULL, WEBHOOK, at, mapOf } from '../subscriptions/builders.ts'

const life: Subscription = {
  id: 'L1',
  creator: 'g1',
  config: { ...WEBHOOK, description: 'event processor' },
  createdAt: Date.UTC(2026, 4, 9),
  ready: true,
  links: Map<string, Link>(),
  linkBytes: 0,
  generation: 7,
  wake: undefined,
}
const render = (more: Partial<Subscription>) =>
  renderSubscription({ id: 'sub-1', life: { ...life, ...more }, kid: 'ds_abc123' })
const during = (phase: WakePhase) =>
  render({ wake: { id: 'w1', runner: 'g1', tails: mapOf({}), phase } })

describe('renderSubscription', () => {
  // PROTOCOL §6.3.
  test('shows all of a webhook', () => {
    expect(render({})).toEqual({
      id: 'sub-1',
      subscription_id: 'sub-1',
      type: 'webhook',
      pattern: 'events/*',
      streams: [],
      webhook: {
        url: 'https://worker.example/hooks',
        signing: {
          alg: 'ed25519',
          kid: 'ds_abc123',
          jwks_url: 'https://host/v1/stream/__ds/jwks.json',
        },
      },
      wake_stream: null,
      lease_ttl_ms: 30_000,
      created_at: '2026-05-09T00:00:00.000Z',
      status: 'active',
      description: 'event processor',
    })
  })

  test('shows null for what was not said', () => {
    expect(render({ config: { ...PULL, pattern: undefined } })).toMatchObject({
      type: 'pull-wake',
      pattern: null,
      webhook: null,
      wake_stream: 'wake/pool',
      description: null,
    })
  })

  // PROTOCOL §6.1: explicit takes precedence.
  test.each([
    ['the client’s', true, false, 'explicit'],
    ['the pattern’s', false, true, 'glob'],
    ['both', true, true, 'explicit'],
  ])('shows a link of %s', (_name, explicit, glob, link_type) => {
    const links = Map({ a: { explicit, glob, acked: at(5), tail: at(9) } })
    expect(render({ links })['streams']).toEqual([{ path: 'a', link_type, acked_offset: at(5) }])
  })

  test.each<[string, WakePhase]>([
    ['is sent', { kind: 'sending', attempt: 1 }],
    ['waits for a worker', { kind: 'announced' }],
    ['is worked on', { kind: 'leased', until: 5, holder: undefined }],
  ])('is active while a wake %s', (_name, phase) => {
    expect(during(phase)).toMatchObject({ status: 'active' })
    expect(during(phase)).not.toHaveProperty('next_attempt_at')
  })

  test('has failed while a retry is due', () => {
    const until = Date.UTC(2026, 4, 9, 0, 0, 2)
    expect(during({ kind: 'waiting', attempt: 1, until })).toMatchObject({
      status: 'failed',
      next_attempt_at: '2026-05-09T00:00:02.000Z',
    })
  })
})

describe('renderClaim', () => {
  // PROTOCOL §7.2.
  test('shows what a worker is to do', () => {
    const link = { explicit: false, glob: true, acked: at(1), tail: at(2) }
    const work = [
      { path: 'a', link, tail: at(2) },
      { path: 'b', link: { ...link, explicit: true }, tail: at(1) },
    ]
    const claim = { wakeId: 'w1', generation: 7, work, token: 't', leaseTtlMs: 30_000 }
    const item = { acked_offset: at(1) }
    expect(renderClaim(claim)).toEqual({
      wake_id: 'w1',
      generation: 7,
      token: 't',
      streams: [
        { ...item, path: 'a', link_type: 'glob', tail_offset: at(2), has_pending: true },
        { ...item, path: 'b', link_type: 'explicit', tail_offset: at(1), has_pending: false },
      ],
      lease_ttl_ms: 30_000,
    })
  })
})

describe('renderError', () => {
  test.each<[SubscriptionErrorCode, number]>([
    ['INVALID_REQUEST', 400],
    ['WEBHOOK_URL_REJECTED', 400],
    ['TOKEN_INVALID', 401],
    ['TOKEN_EXPIRED', 401],
    ['SUBSCRIPTION_NOT_FOUND', 404],
    ['SUBSCRIPTION_ALREADY_EXISTS', 409],
    ['FENCED', 409],
    ['ALREADY_CLAIMED', 409],
    ['NO_PENDING_WORK', 409],
    ['INVALID_OFFSET', 409],
    ['LIMIT_REACHED', 422],
  ])('answers %s with %i, and no cache keeps it', (code, status) => {
    const { headers, body, ...rest } = renderError(new SubscriptionError(code, 'why'))
    expect(rest).toEqual({ status })
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'cache-control': 'no-store',
    })
    expect(JSON.parse(body.toString())).toEqual({ error: { code, message: 'why' } })
    expect(headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined)
  })

  test('says who holds the lease', () => {
    const details = { current_holder: 'worker-2', generation: 7 }
    const { body } = renderError(new SubscriptionError('ALREADY_CLAIMED', 'why', details))
    expect(JSON.parse(body.toString())).toEqual({
      error: {
        code: 'ALREADY_CLAIMED',
        message: 'why',
        current_holder: 'worker-2',
        generation: 7,
      },
    })
  })
})

describe('the table of subscription codes in the README', () => {
  const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')
  const listed = [
    ...read('src/http/README.md').matchAll(/^\| `([A-Z_]+)` +\| (\d{3}) +\| \S.*\|$/gm),
  ].map(([, code, status]) => [code, Number(status)] as const)

  test('names every code there is, once', () => {
    const source = read('src/subscriptions/errors.ts')
    const [, union = ''] = /export type SubscriptionErrorCode =([^]*?)\n\n/.exec(source) ?? []
    const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code)
    expect(codes.length).toBeGreaterThan(10)
    expect(listed.map(([code]) => code).sort()).toEqual(codes.sort())
  })

  test.each(listed)('%s is %d', (code, status) => {
    const error = new SubscriptionError(code as SubscriptionErrorCode, 'x')
    expect(renderError(error).status).toBe(status)
  })
})
