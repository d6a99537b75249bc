import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { judge } from '../../../src/auth/grant.ts'
import type { Grant, Scope } from '../../../src/auth/grant.ts'
import { TICKET_TYPE } from '../../../src/auth/tickets.ts'
import { RequestError } from '../../../src/errors.ts'
import { startJwksServer } from '../../support/jwks-server.ts'
import {
  forge,
  makeKey,
  secretKey,
  sign,
  textOf,
  withClaims,
  withHeader,
  withOtherSignature,
} from '../../support/tokens.ts'
import { COOLDOWN_MS } from '../../../src/auth/key-watch.ts'
import { outcome, world } from './world.ts'
import type { WorldOptions } from './world.ts'

const SECRET = 'a secret that gateways share: 32 or more bytes'
const OTHER_SECRET = 'another secret that gateways share, as long'
const key = makeKey('HS256')
const READ = { stream: 'acme/a', scope: 'read' } as const

/** A world, and what a token of project acme allows in it. */
async function withToken(options: WorldOptions = {}, claims: object = {}) {
  const given = { secrets: [key], gatewaySecrets: [SECRET], ...options }
  const all = await world(given)
  const exp = all.inS(7200)
  const token = await sign(key, { sub: 'acme', scope: 'write', exp, ...claims })
  return { ...all, token, grant: await all.auth.verify(token) }
}

describe('a ticket', () => {
  test('is for one stream and scope, and ends what it began with the token', async () => {
    const { auth, clock, grant } = await withToken()
    const { ticket, expiresAt } = await auth.issueTicket(grant, READ)
    expect(expiresAt).toBe(clock.now() + 30_000)
    const given = await auth.verifyTicket(ticket)
    expect(given).toMatchObject({
      subject: 'acme',
      project: 'acme',
      scope: 'read',
      expiresAt: grant.expiresAt,
      keyId: grant.keyId,
    })
    expect(judge(given, 'read', 'acme/a')).toBe('allowed')
    expect(judge(given, 'write', 'acme/a')).toBe('insufficient_scope')
    expect(judge(given, 'read', 'acme/b')).toBe('forbidden')
  })

  test('goes for a stream whose name looks like a pattern, and for no other', async () => {
    const { auth, grant } = await withToken()
    const { ticket } = await auth.issueTicket(grant, { stream: 'acme/*', scope: 'read' })
    const given = await auth.verifyTicket(ticket)
    expect(judge(given, 'read', 'acme/*')).toBe('allowed')
    expect(judge(given, 'read', 'acme/a')).toBe('forbidden')
  })

  test('never allows what its grant does not', async () => {
    const { auth, grant } = await withToken()
    const scope = fc.constantFrom<Scope | undefined>('read', 'write', 'manage', undefined)
    const needed = fc.constantFrom<Scope>('read', 'write', 'manage')
    const name = fc.constantFrom('acme/a', 'acme/b', 'other/a', 'acme')
    await fc.assert(
      fc.asyncProperty(scope, needed, name, name, async (has, wanted, stream, asked) => {
        const given: Grant = { ...grant, scope: has }
        const request = { stream, scope: wanted }
        const verdict = judge(given, wanted, stream)
        const issued = await outcome(() => auth.issueTicket(given, request))
        expect(issued).toBe(verdict === 'allowed' ? 'ok' : verdict)
        if (issued !== 'ok') return
        const { ticket } = await auth.issueTicket(given, request)
        const got = await auth.verifyTicket(ticket)
        for (const one of ['read', 'write', 'manage'] as const) {
          if (judge(got, one, asked) === 'allowed') {
            expect(judge(given, one, asked)).toBe('allowed')
          }
        }
      }),
      { numRuns: 60 },
    )
  })

  test('can be used again in its time, and not after', async () => {
    const { auth, clock, grant } = await withToken()
    const { ticket } = await auth.issueTicket(grant, READ)
    await auth.verifyTicket(ticket)
    clock.advance(29_999)
    expect(auth.verifyTicket(ticket)).not.toBeInstanceOf(Promise)
    clock.advance(1)
    expect(await outcome(() => auth.verifyTicket(ticket))).toBe('token_expired')
    expect(await outcome(() => auth.verifyTicket(ticket))).toBe('token_expired')
  })

  test('ends with its token if that is sooner', async () => {
    const { auth, clock, inS } = await withToken()
    const grant = await auth.verify(await sign(key, { sub: 'acme', scope: 'read', exp: inS(-20) }))
    const { ticket, expiresAt } = await auth.issueTicket(grant, READ)
    expect(expiresAt).toBe(clock.now() + 10_000)
    clock.advance(10_000)
    expect(await outcome(() => auth.verifyTicket(ticket))).toBe('token_expired')
  })

  test.each([
    [7200, 3600],
    [600, 630],
  ])('in a cookie lasts as long as a token of %d s, an hour at most', async (lasts, seconds) => {
    const { auth, clock, inS } = await withToken()
    const grant = await auth.verify(
      await sign(key, { sub: 'acme', scope: 'read', exp: inS(lasts) }),
    )
    const { ticket, expiresAt } = await auth.issueTicket(grant, { ...READ, use: 'cookie' })
    expect(expiresAt).toBe(clock.now() + seconds * 1000)
    clock.advance(seconds * 1000 - 1)
    expect(await outcome(() => auth.verifyTicket(ticket, 'cookie'))).toBe('ok')
    clock.advance(1)
    expect(await outcome(() => auth.verifyTicket(ticket, 'cookie'))).toBe('token_expired')
  })

  test('is refused where one of the other kind belongs', async () => {
    const { auth, grant } = await withToken()
    const { ticket: forUrl } = await auth.issueTicket(grant, READ)
    const { ticket: forCookie } = await auth.issueTicket(grant, { ...READ, use: 'cookie' })
    await Promise.all([auth.verifyTicket(forUrl), auth.verifyTicket(forCookie, 'cookie')])
    expect(await outcome(() => auth.verifyTicket(forUrl, 'cookie'))).toBe('invalid_token')
    expect(await outcome(() => auth.verifyTicket(forCookie))).toBe('invalid_token')
  })

  test.each<[string, string[], string[], string]>([
    ['another gateway', [SECRET], [SECRET], 'ok'],
    ['one that has a newer secret besides', [SECRET], [OTHER_SECRET, SECRET], 'ok'],
    ['one that signs with an older secret', [OTHER_SECRET, SECRET], [SECRET, OTHER_SECRET], 'ok'],
    ['one that has forgotten the secret', [SECRET], [OTHER_SECRET], 'invalid_token'],
    ['one that has none', [SECRET], [], 'invalid_token'],
  ])('at %s', async (_name, issuing, reading, expected) => {
    const { auth, grant } = await withToken({ gatewaySecrets: issuing })
    const { ticket } = await auth.issueTicket(grant, READ)
    const { auth: other } = await withToken({ gatewaySecrets: reading })
    expect(await outcome(() => other.verifyTicket(ticket))).toBe(expected)
  })

  test('is not to be had without a secret', async () => {
    const { auth, grant } = await withToken({ gatewaySecrets: [] })
    await expect(auth.issueTicket(grant, READ)).rejects.toBeInstanceOf(RequestError)
  })

  test('goes when the key of its token does, known or not', async () => {
    const issuer = makeKey('ES256', 'a')
    const { auth, inS, publish } = await world({ published: [issuer], gatewaySecrets: [SECRET] })
    const grant = await auth.verify(
      await sign(issuer, { sub: 'acme', scope: 'read', exp: inS(60) }),
    )
    const [{ ticket }, { ticket: unseen }] = await Promise.all([
      auth.issueTicket(grant, READ),
      auth.issueTicket(grant, { stream: 'acme/b', scope: 'read' }),
    ])
    expect(await outcome(() => auth.verifyTicket(ticket))).toBe('ok')
    await publish()
    expect(await outcome(() => auth.verifyTicket(ticket))).toBe('invalid_token')
    expect(await outcome(() => auth.verifyTicket(unseen))).toBe('invalid_token')
  })

  test('of a key that only the other gateway has met makes this one ask for it', async () => {
    const [old, next] = [makeKey('ES256', 'a'), makeKey('ES256', 'b')]
    const server = await startJwksServer(old)
    const given = { jwksUrl: server.url, gatewaySecrets: [SECRET] }
    const here = await world(given)
    await server.publish(next)
    const there = await world(given)
    const token = await sign(next, { sub: 'acme', scope: 'read', exp: here.inS(60) })
    const { ticket } = await there.auth.issueTicket(await there.auth.verify(token), READ)
    here.clock.stall(COOLDOWN_MS)
    expect(await outcome(() => here.auth.verifyTicket(ticket))).toBe('ok')
  })
})

describe('tickets and access tokens', () => {
  test('are never taken for each other', async () => {
    const { auth, grant, token } = await withToken()
    const { ticket } = await auth.issueTicket(grant, READ)
    await auth.verifyTicket(ticket)
    expect(await outcome(() => auth.verify(ticket))).toBe('invalid_token')
    expect(await outcome(() => auth.verifyTicket(token))).toBe('invalid_token')
  })

  test('not even if their secrets are the same', async () => {
    const { auth, grant, token } = await withToken({ gatewaySecrets: [textOf(key)] })
    const { ticket } = await auth.issueTicket(grant, READ)
    const [header = '{}'] = ticket
      .split('.')
      .map((part) => Buffer.from(part, 'base64url').toString())
    const { kid } = JSON.parse(header) as { kid: string }
    const content = {
      use: 'url',
      until: 1e15,
      ends: 1e15,
      stream: 'a',
      scope: 'read',
      key: grant.keyId,
    }
    const secret = textOf(key)
    const tokens = [ticket, withHeader(ticket, { alg: 'HS256' })]
    for (const one of tokens) expect(await outcome(() => auth.verify(one))).toBe('invalid_token')
    const tickets = [
      token,
      withHeader(token, { alg: 'HS256', typ: TICKET_TYPE, kid }),
      forge({ alg: 'HS256', typ: TICKET_TYPE, kid }, content, secret),
      await sign(secretKey('HS256', secret), content, { typ: TICKET_TYPE, kid }),
    ]
    for (const one of tickets) {
      expect(await outcome(() => auth.verifyTicket(one))).toBe('invalid_token')
    }
  })

  test('a ticket that was changed is refused', async () => {
    const { auth, grant } = await withToken()
    const { ticket } = await auth.issueTicket(grant, READ)
    const [, payload = ''] = ticket.split('.')
    const content = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object
    const wrong = [
      withOtherSignature(ticket),
      withClaims(ticket, { ...content, scope: 'manage' }),
      withClaims(ticket, { ...content, stream: 'acme/b' }),
      withClaims(ticket, { ...content, until: 1e15 }),
      withHeader(ticket, { alg: 'none', typ: TICKET_TYPE }),
      ticket.split('.').slice(0, 2).join('.'),
      `${ticket}.x`,
      'x'.repeat(20_000),
      '',
    ]
    for (const one of wrong) {
      expect(await outcome(() => auth.verifyTicket(one))).toBe('invalid_token')
    }
  })

  test('a ticket shows neither the secret nor the token', async () => {
    const { auth, grant, token } = await withToken()
    const { ticket } = await auth.issueTicket(grant, READ)
    const shown = ticket.split('.').map((part) => Buffer.from(part, 'base64url').toString())
    for (const secret of [SECRET, textOf(key), token]) {
      expect(shown.join()).not.toContain(secret.slice(0, 12))
    }
  })
})
