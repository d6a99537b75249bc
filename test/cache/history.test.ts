/** History through a shared cache: what is stored, and that nothing stored is ever out of date. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { appendJson, call } from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'
import { isMissing } from '../support/programs.ts'
import { SHARED_CACHES } from './caches.ts'
import { nextOffset, startSite } from './site.ts'
import type { Site, SiteStream } from './site.ts'

/** More than one answer carries: the first one ends before the tail. */
const MANY = Array.from({ length: 1500 }, (_, n) => ({ n }))

const messages = ({ body }: Answer): unknown[] => JSON.parse(body) as unknown[]

/** Resolves once a URL answers so. */
const answersWith = (status: number, url: string): Promise<void> =>
  vi.waitFor(async () => expect((await call(url)).status).toBe(status), {
    timeout: 10_000,
    interval: 50,
  })

const ofClient = ({ status, headers, body }: Answer) => ({
  status,
  body,
  type: headers['content-type'],
  next: headers['stream-next-offset'],
  upToDate: headers['stream-up-to-date'],
  closed: headers['stream-closed'],
  etag: headers['etag'],
})

describe.each(SHARED_CACHES.map((cache) => ({ cache, name: cache.package })))(
  'history through $name',
  ({ cache }) => {
    describe.skipIf(isMissing(cache))('', () => {
      const cleanUps = new CleanUps()
      let site: Site

      beforeAll(async () => {
        site = await startSite(cache, cleanUps)
      })
      afterAll(() => cleanUps.run())

      async function streamOf(...appends: unknown[]): Promise<SiteStream> {
        const stream = site.stream()
        await stream.create()
        for (const message of appends) await stream.append(message)
        return stream
      }

      describe('a chunk that ends before the tail', () => {
        test('is stored: the second reader gets the same, and the gateway no request', async () => {
          const { url, origin } = await streamOf(MANY)
          const first = await call(`${url}?offset=-1`)
          expect(first.headers['stream-up-to-date']).toBeUndefined()
          const second = await call(`${url}?offset=-1`)
          expect(ofClient(second)).toEqual(ofClient(first))
          expect(ofClient(second)).toEqual(ofClient(await call(`${origin}?offset=-1`)))
          expect(site.relay.count(`${url}?offset=-1`)).toBe(1)
        })

        test('is stored by its whole URL: every offset has an answer of its own', async () => {
          const { url } = await streamOf(MANY, MANY)
          const first = await call(`${url}?offset=-1`)
          const second = await call(`${url}?offset=${nextOffset(first)}`)
          expect(messages(second)[0]).toEqual({ n: messages(first).length })
          expect(await call(`${url}?offset=-1`)).toMatchObject({ body: first.body })
        })

        test('is answered with 304 to whoever has it', async () => {
          const { url } = await streamOf(MANY)
          const { headers } = await call(`${url}?offset=-1`)
          const again = await call(`${url}?offset=-1`, {
            headers: { 'if-none-match': String(headers.etag) },
          })
          expect([again.status, again.body]).toEqual([304, ''])
          // And nobody else gets that.
          expect((await call(`${url}?offset=-1`)).status).toBe(200)
        })

        test('leads to the tail, whatever was appended since it was stored', async () => {
          const stream = await streamOf(MANY)
          await call(`${stream.url}?offset=-1`)
          await stream.append({ n: 'last' })
          const first = await call(`${stream.url}?offset=-1`)
          const rest = await call(`${stream.url}?offset=${nextOffset(first)}`)
          expect([...messages(first), ...messages(rest)]).toEqual([...MANY, { n: 'last' }])
        })
      })

      describe('a read of a stream that expires', () => {
        test('is stored no longer than the stream lives', async () => {
          const stream = site.stream()
          const expiresAt = new Date(Date.now() + 3_000).toISOString()
          await stream.create({ 'stream-expires-at': expiresAt })
          await stream.append(MANY)
          const url = `${stream.url}?offset=-1`
          expect((await call(url)).headers['cache-control']).toMatch(/^public, max-age=[12]$/)
          await call(url)
          expect(site.relay.count(url)).toBe(1)
          await answersWith(404, stream.origin)
          // Caches count in whole seconds. What comes next is the first that they are asked since.
          await sleep(1_000)
          expect((await call(url)).status).toBe(404)
        })
      })

      describe('the tail', () => {
        test('is never out of date after an acknowledged append', async () => {
          const stream = await streamOf()
          const appended: unknown[] = []
          for (let n = 0; n < 30; n += 1) {
            await stream.append({ n })
            appended.push({ n })
            expect(messages(await call(stream.url))).toEqual(appended)
            expect(messages(await call(`${stream.url}?offset=-1`))).toEqual(appended)
          }
        })

        test('is read anew by whoever asks after an append, also while others still wait', async () => {
          const stream = await streamOf({ n: 0 })
          const url = `${stream.url}?offset=-1`
          const held = site.relay.hold(url)
          const early = call(url)
          await held.answered
          await stream.append({ n: 1 })
          // It asks for the same as one whose answer, on its way, is older than the append.
          const late = call(url)
          // A cache may let it wait for the other one, but not give it the other's answer.
          await site.waiting(1, late)
          held.release()
          expect(messages(await late)).toEqual([{ n: 0 }, { n: 1 }])
          expect(messages(await early)).toEqual([{ n: 0 }])
        })

        test('is answered with 304 until something is appended', async () => {
          const stream = await streamOf({ n: 0 })
          const { headers } = await call(stream.url)
          const ifNoneMatch = { headers: { 'if-none-match': String(headers.etag) } }
          expect((await call(stream.url, ifNoneMatch)).status).toBe(304)
          // Nor does the gateway send it all, for the cache to compare.
          expect(site.relay.answers.at(-1)).toBe(304)
          await stream.append({ n: 1 })
          const later = await call(stream.url, ifNoneMatch)
          expect([later.status, messages(later)]).toEqual([200, [{ n: 0 }, { n: 1 }]])
        })

        test('shows at once that the stream was closed, also to those who have its data', async () => {
          const stream = await streamOf({ n: 0 })
          const before = await call(stream.url)
          expect(before.headers['stream-closed']).toBeUndefined()
          await stream.close()
          for (const headers of [{}, { 'if-none-match': String(before.headers.etag) }]) {
            const after = await call(stream.url, { headers })
            expect(after).toMatchObject({ status: 200, headers: { 'stream-closed': 'true' } })
            expect(after.body).toBe(before.body)
          }
        })

        test('of a closed stream is not stored: it may be deleted and created anew', async () => {
          const stream = await streamOf({ n: 0 })
          await stream.close()
          await call(stream.url)
          await call(stream.origin, { method: 'DELETE' })
          expect((await call(stream.url)).status).toBe(404)
          await stream.create()
          expect(messages(await call(stream.url))).toEqual([])
        })

        test('keeps nobody waiting for those who ask for the same', async () => {
          const { url } = await streamOf({ n: 0 })
          const held = site.relay.hold(url)
          const first = call(url)
          await held.answered
          const others = Promise.all(Array.from({ length: 20 }, () => call(url)))
          await site.waiting(20, others)
          const released = performance.now()
          held.release()
          await Promise.all([first, others])
          // One after the other they took half a second each.
          expect(performance.now() - released).toBeLessThan(3_000)
        })

        test('is asked for from now on every time', async () => {
          const stream = await streamOf({ n: 0 })
          const url = `${stream.url}?offset=now`
          const before = await call(url)
          await stream.append({ n: 1 })
          expect(nextOffset(await call(url))).not.toBe(nextOffset(before))
        })
      })

      describe('what is not there', () => {
        test('is not stored: a stream can be read as soon as it is created', async () => {
          const stream = site.stream()
          for (const query of ['', '?offset=-1']) {
            expect((await call(`${stream.url}${query}`)).status).toBe(404)
          }
          await stream.create()
          for (const query of ['', '?offset=-1']) {
            expect((await call(`${stream.url}${query}`)).status).toBe(200)
          }
        })

        test('is not stored either after a refusal', async () => {
          const stream = await streamOf({ n: 0 })
          const url = `${stream.url}?offset=nonsense`
          expect((await call(url)).status).toBe(400)
          expect((await call(url)).status).toBe(400)
          expect(site.relay.count(url)).toBe(2)
        })
      })

      describe('requests that are no reads of data', () => {
        test('HEAD tells where the stream ends now, whatever is stored', async () => {
          const stream = await streamOf(MANY)
          const chunk = await call(stream.url)
          const before = await call(stream.url, { method: 'HEAD' })
          expect(nextOffset(before)).not.toBe(nextOffset(chunk))
          await stream.append({ n: 'more' })
          const after = await call(stream.url, { method: 'HEAD' })
          expect(nextOffset(after)).not.toBe(nextOffset(before))
          expect(site.relay.count(stream.url, 'HEAD')).toBe(2)
          // Nor does a HEAD become what a GET gets.
          expect((await call(stream.url)).body).toBe(chunk.body)
        })

        test('writes go through, large ones too, and what they answer', async () => {
          const { url } = site.stream()
          const type = { 'content-type': 'application/json' }
          const created = await call(url, { method: 'PUT', headers: type })
          expect([created.status, created.headers.location]).toEqual([201, url])
          const large = 'x'.repeat(3 * 1024 * 1024)
          expect((await appendJson(url, large)).status).toBe(204)
          expect(messages(await call(url))).toEqual([large])
          expect((await call(url, { method: 'DELETE' })).status).toBe(204)
          expect((await call(url)).status).toBe(404)
        })
      })
    })
  },
)
