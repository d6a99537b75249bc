/** Private streams behind a shared cache: who may not read gets nothing of what others have read. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JWT_ENV, bearer, tokenOf } from '../support/access-tokens.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { JSON_TYPE, call } from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'
import { isMissing } from '../support/programs.ts'
import { SHARED_CACHES } from './caches.ts'
import { nextOffset, nextPoll, startSite } from './site.ts'
import type { Site, SiteStream } from './site.ts'

/** More than one answer carries: the first one ends before the tail. */
const MANY = Array.from({ length: 1500 }, (_, n) => ({ n }))
/** As many as a stream can be created with. */
const SOME = MANY.slice(0, 900)
const FIRST = MANY[0]

const COOKIE = '__Secure-reader'
const ENV = { ...JWT_ENV, GATEWAY_SECRETS: 'g'.repeat(32), AUTH_COOKIE: COOKIE }
const PROJECT = 'cache'
const WRITER = bearer({ sub: PROJECT, scope: 'manage' })

let readers = 0

const readerClaims = () => ({ sub: PROJECT, scope: 'read', jti: String((readers += 1)) })

/** Each has a token of its own. */
const reader = () => ({ headers: bearer(readerClaims()) })
const stranger = () => ({ headers: bearer({ sub: 'other', scope: 'manage' }) })

/** Who may not read, and what they are told. */
const REFUSED = [
  ['without a token', () => ({ headers: {} }), 401],
  ['with a token for another project', stranger, 403],
  ['with a token that is none', () => ({ headers: { authorization: 'Bearer none' } }), 401],
] as const

/** All the ways to show a token, as a query and headers. */
const CREDENTIALS = [
  ['a token', () => ({ query: '', headers: reader().headers })],
  ['a cookie', () => ({ query: '', headers: cookieOf(tokenOf(readerClaims())) })],
] as const

const cookieOf = (value: string) => ({ cookie: `${COOKIE}=${value}` })

const messages = ({ body }: Answer): unknown[] => JSON.parse(body) as unknown[]

async function refusedAll(url: string): Promise<void> {
  for (const [who, options, status] of REFUSED) {
    const { body, headers, ...answer } = await call(url, options())
    expect([who, answer.status]).toEqual([who, status])
    expect([who, headers['cache-control']]).toEqual([who, 'no-store'])
    expect([who, JSON.parse(body)]).toEqual([who, expect.objectContaining({ status })])
  }
}

describe.each(SHARED_CACHES.map((cache) => ({ cache, name: cache.package })))(
  'private streams behind $name',
  ({ cache }) => {
    describe.skipIf(isMissing(cache))('', () => {
      const cleanUps = new CleanUps()
      let site: Site

      beforeAll(async () => {
        site = await startSite(cache, cleanUps, ENV, WRITER)
      })
      afterAll(() => cleanUps.run())

      async function streamOf(headers: Record<string, string> = {}): Promise<SiteStream> {
        const stream = site.stream()
        await stream.create(headers)
        await stream.append(MANY)
        return stream
      }

      /** The reader key of a stream, as a reader gets it by way of the cache. */
      async function keyOf({ url }: SiteStream): Promise<string> {
        const { headers } = await call(url, { method: 'HEAD', ...reader() })
        const key = String(headers['stream-reader-key'])
        expect(key).toMatch(/^rk_[\w-]{43}$/)
        return key
      }

      /** The URL of a poll at the tail of a stream with one message. */
      async function pollOf(stream: SiteStream): Promise<string> {
        await stream.create()
        await stream.append(FIRST)
        const answer = await call(`${stream.url}?live=long-poll&offset=-1`, reader())
        return nextPoll(stream.url, answer)
      }

      describe('what was fetched without the reader key', () => {
        test.each(CREDENTIALS)('with %s is given to nobody else', async (_name, credentials) => {
          const stream = await streamOf()
          const tail = nextOffset(await call(stream.url, reader()))
          for (const query of ['offset=-1', `offset=${tail}`]) {
            const url = `${stream.url}?${query}`
            await refusedAll(url)
            for (const count of [1, 2]) {
              const { status, headers } = await call(url, credentials())
              expect(status).toBe(200)
              expect(headers['cache-control']).toMatch(/^private/)
              expect(site.relay.count(url)).toBe(count * (REFUSED.length + 1))
              await refusedAll(url)
            }
          }
        })

        test.each(['ticket', '%74icket'])(
          'with a %s is given to nobody else',
          async (parameter) => {
            const stream = await streamOf()
            const name = new URL(stream.url).pathname.replace('/v1/stream/', '')
            const tickets = stream.url.replace(name, '__ds/tickets')
            const body = JSON.stringify({ stream: name })
            const answer = await call(tickets, { method: 'POST', ...reader(), body })
            const { ticket } = JSON.parse(answer.body) as { ticket: string }
            // Varnish sorts them.
            const url = `${stream.url}?${[`${parameter}=${ticket}`, 'offset=-1'].sort().join('&')}`
            for (const count of [1, 2]) {
              expect((await call(url)).status).toBe(200)
              expect(site.relay.count(url)).toBe(count)
            }
            await refusedAll(`${stream.url}?offset=-1`)
          },
        )

        test('by long-poll is given to nobody else, nor do they wait for it', async () => {
          const stream = site.stream()
          const poll = await pollOf(stream)
          const waiting = [call(poll, reader()), call(poll, reader())]
          await site.relay.until(poll, 2)
          await refusedAll(poll)
          await stream.append({ n: 1 })
          for (const { status, body } of await Promise.all(waiting)) {
            expect([status, body]).toEqual([200, '[{"n":1}]'])
          }
          await refusedAll(poll)
          const { length } = site.relay.requests
          expect((await call(poll, reader())).body).toBe('[{"n":1}]')
          expect(site.relay.requests).toHaveLength(length + 1)
        })

        test('is not stored in the moment of creation either', async () => {
          for (let round = 0; round < 10; round += 1) {
            const { url } = site.stream()
            const read = () => call(`${url}?offset=-1`, reader())
            const headers = { ...JSON_TYPE, ...WRITER }
            const created = call(url, { method: 'PUT', headers, body: JSON.stringify(SOME) })
            const early = Array.from({ length: 5 }, read)
            const answers = await Promise.all([created, ...early])
            const appended = call(url, { method: 'POST', headers, body: JSON.stringify(SOME) })
            answers.push(...(await Promise.all([read(), read(), appended])), await read())
            expect([answers[0].status, answers.at(-1)?.status]).toEqual([201, 200])
            expect(answers.at(-1)?.headers['stream-up-to-date']).toBeUndefined()
            for (const { headers } of answers) {
              expect(headers['cache-control']).toMatch(/^(private|no-store)/)
            }
            expect(answers[0].headers['stream-reader-key']).toBeDefined()
            await refusedAll(`${url}?offset=-1`)
          }
        })
      })

      describe('with the reader key in the URL', () => {
        test('history is stored for readers of any token', async () => {
          const stream = await streamOf()
          const rk = await keyOf(stream)
          const put = await call(stream.origin, {
            method: 'PUT',
            headers: { ...WRITER, ...JSON_TYPE },
          })
          expect([put.status, put.headers['stream-reader-key']]).toEqual([200, rk])
          const url = `${stream.url}?offset=-1&rk=${rk}`
          const first = await call(url, reader())
          expect(messages(first)[0]).toEqual(FIRST)
          for (const credentials of CREDENTIALS) {
            expect(await call(url, credentials[1]())).toMatchObject({
              status: 200,
              body: first.body,
            })
          }
          expect(site.relay.count(url)).toBe(1)
          // Nor is that an answer for who has not got the key.
          await refusedAll(`${stream.url}?offset=-1`)
        })

        test('nothing is stored for who may not read, and readers are not kept from it', async () => {
          const stream = await streamOf()
          const url = `${stream.url}?offset=-1&rk=${await keyOf(stream)}`
          await refusedAll(url)
          await refusedAll(url)
          expect(site.relay.count(url)).toBe(2 * REFUSED.length)
          // A cache may take a second to forget that the URL had nothing to store.
          await sleep(1_500)
          for (let n = 0; n < 3; n += 1) expect((await call(url, reader())).status).toBe(200)
          expect(site.relay.count(url)).toBe(2 * REFUSED.length + 1)
        })

        test.each([
          ['of another stream', async () => keyOf(await streamOf())],
          ['that is none', () => Promise.resolve('x')],
          ['with something behind it', async (stream: SiteStream) => `${await keyOf(stream)}x`],
        ])('a key %s stores nothing', async (_name, keyFor) => {
          const stream = await streamOf()
          const url = `${stream.url}?offset=-1&rk=${await keyFor(stream)}`
          for (const count of [1, 2]) {
            const { status, headers } = await call(url, reader())
            expect([status, headers['cache-control']]).toEqual([200, 'private, max-age=60'])
            expect(site.relay.count(url)).toBe(count + (count - 1) * REFUSED.length)
            await refusedAll(url)
          }
        })

        test('the tail is asked for every time, by whoever may read', async () => {
          const stream = site.stream()
          await stream.create()
          const url = `${stream.url}?offset=-1&rk=${await keyOf(stream)}`
          const appended: unknown[] = []
          for (let n = 0; n < 5; n += 1) {
            await stream.append({ n })
            appended.push({ n })
            expect(messages(await call(url, reader()))).toEqual(appended)
            await refusedAll(url)
          }
        })

        test('a key is void for what is created anew under the name', async () => {
          const stream = await streamOf()
          const rk = await keyOf(stream)
          await call(stream.origin, { method: 'DELETE', headers: WRITER })
          await stream.create()
          await stream.append(MANY)
          expect(await keyOf(stream)).not.toBe(rk)
          const url = `${stream.url}?offset=-1&rk=${rk}`
          for (const count of [1, 2]) {
            expect((await call(url, reader())).headers['cache-control']).toMatch(/^private/)
            expect(site.relay.count(url)).toBe(count)
          }
        })

        /** 50 readers, each with a token of its own. */
        async function collapsed(stream: SiteStream, poll: string): Promise<void> {
          const before = site.relay.count(poll)
          const waiting = Promise.all(Array.from({ length: 50 }, () => call(poll, reader())))
          await site.relay.until(poll, before + 1)
          await site.waiting(49)
          await stream.append({ n: 1 })
          for (const { status, body } of await waiting) {
            expect([status, body]).toEqual([200, '[{"n":1}]'])
          }
          expect(site.relay.count(poll)).toBe(before + 1)
        }

        test('a long-poll is one request for readers of any token', async () => {
          const stream = site.stream()
          const bare = await pollOf(stream)
          await collapsed(stream, `${bare}&rk=${await keyOf(stream)}`)
        })

        test('a long-poll is one request also after somebody was refused', async () => {
          const stream = site.stream()
          const bare = await pollOf(stream)
          const poll = `${bare}&rk=${await keyOf(stream)}`
          await refusedAll(poll)
          await sleep(1_500)
          await collapsed(stream, poll)
        })
      })

      describe('a public stream', () => {
        test('is cached for everybody', async () => {
          const stream = await streamOf({ 'stream-public': 'true' })
          const url = `${stream.url}?offset=-1`
          const first = await call(url)
          expect(first.headers['cache-control']).toMatch(/^public/)
          for (let n = 0; n < 3; n += 1) {
            expect(await call(url)).toMatchObject({ status: 200, body: first.body })
          }
          expect(site.relay.count(url)).toBe(1)
          // Nor does it matter that some show a token, but one that is none is told so.
          expect((await call(url, reader())).status).toBe(200)
          expect((await call(url, { headers: { authorization: 'Bearer none' } })).status).toBe(401)
          expect((await call(url)).status).toBe(200)
        })

        test('is polled by one request for all', async () => {
          const stream = site.stream()
          await stream.create({ 'stream-public': 'true' })
          await stream.append(FIRST)
          const poll = nextPoll(stream.url, await call(`${stream.url}?live=long-poll&offset=-1`))
          const waiting = Promise.all(Array.from({ length: 50 }, () => call(poll)))
          await site.relay.until(poll, 1)
          await site.waiting(49)
          await stream.append({ n: 1 })
          for (const { body } of await waiting) expect(body).toBe('[{"n":1}]')
          expect(site.relay.count(poll)).toBe(1)
        })
      })

      describe('another READER_KEY_EPOCH', () => {
        test('voids the keys of before: nothing more is stored by them', async () => {
          const stream = await streamOf({ 'stream-ttl': '4' })
          const old = await keyOf(stream)
          const oldUrl = `${stream.url}?offset=-1&rk=${old}`
          const stored = await call(oldUrl, reader())
          expect(stored.headers['cache-control']).toMatch(/^public, max-age=[34]$/)
          await site.restart({ READER_KEY_EPOCH: '1' })
          const rk = await keyOf(stream)
          expect(rk).not.toBe(old)
          // What the cache has is no answer by the new key.
          const url = `${stream.url}?offset=-1&rk=${rk}`
          await refusedAll(url)
          // It has it for as long as it was told; an append keeps the stream from expiring.
          for (let second = 0; second < 6; second += 1) {
            await sleep(1_000)
            await stream.append({ second })
          }
          const before = site.relay.count(oldUrl)
          await refusedAll(oldUrl)
          for (let n = 0; n < 2; n += 1) {
            expect(await call(oldUrl, reader())).toMatchObject({ status: 200, body: stored.body })
            await refusedAll(oldUrl)
          }
          expect(site.relay.count(oldUrl)).toBe(before + 2 + 3 * REFUSED.length)
        })
      })
    })
  },
)
