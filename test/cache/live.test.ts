/** Live reads through a shared cache: many readers are one request, and nobody is told too little. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { call } from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'
import { SseClient } from '../support/sse-client.ts'
import { isMissing } from '../support/programs.ts'
import { SHARED_CACHES } from './caches.ts'
import { nextOffset, nextPoll, pollUrl, startSite } from './site.ts'
import type { Site } from './site.ts'

const READERS = 50

function start(url: string, count: number): readonly Promise<Answer>[] {
  const polls = Array.from({ length: count }, () => call(url))
  // Whoever awaits them gets the failure.
  for (const poll of polls) poll.catch(() => undefined)
  return polls
}

describe.each(SHARED_CACHES.map((cache) => ({ cache, name: cache.package })))(
  'live reads through $name',
  ({ cache }) => {
    describe.skipIf(isMissing(cache))('', () => {
      const cleanUps = new CleanUps()
      let site: Site

      beforeAll(async () => {
        site = await startSite(cache, cleanUps)
      })
      afterAll(() => cleanUps.run())

      /** A stream with one message, and the URL of a poll for the next. */
      async function atTail() {
        const stream = site.stream()
        await stream.create()
        await stream.append({ n: 0 })
        const poll = nextPoll(stream.url, await call(`${stream.url}?live=long-poll&offset=-1`))
        return { stream, poll }
      }

      /** Starts so many polls, and resolves once all but one wait for that one at the gateway. */
      async function collapsed(url: string, count = READERS): Promise<readonly Promise<Answer>[]> {
        const polls = start(url, count)
        await site.relay.until(url, 1)
        await site.waiting(count - 1)
        return polls
      }

      describe('a long-poll with a cursor', () => {
        test('is one request for all who wait for the same, and one answer', async () => {
          const { stream, poll } = await atTail()
          const waiting = await collapsed(poll)
          await stream.append({ n: 1 })
          const answers = await Promise.all(waiting)
          for (const { status, body } of answers) expect([status, body]).toEqual([200, '[{"n":1}]'])
          expect(new Set(answers.map((answer) => nextPoll(stream.url, answer))).size).toBe(1)
          expect(site.relay.count(poll)).toBe(1)
        })

        test('keeps all together from one message to the next', async () => {
          const { stream, poll } = await atTail()
          let url = poll
          for (let n = 1; n <= 5; n += 1) {
            const waiting = await collapsed(url, 20)
            await stream.append({ n })
            const answers = await Promise.all(waiting)
            expect(answers.map(({ body }) => body)).toEqual(answers.map(() => `[{"n":${n}}]`))
            expect(site.relay.count(url)).toBe(1)
            url = nextPoll(stream.url, answers[0]!)
          }
        })

        test('is answered from the cache to whoever comes later', async () => {
          const { stream, poll } = await atTail()
          await stream.append({ n: 1 })
          const first = await call(poll)
          await stream.append({ n: 2 })
          const later = await call(poll)
          expect(later).toMatchObject({ status: 200, body: '[{"n":1}]' })
          expect(nextPoll(stream.url, later)).toBe(nextPoll(stream.url, first))
          expect(site.relay.count(poll)).toBe(1)
          // What was stored leads to the rest.
          expect((await call(nextPoll(stream.url, later))).body).toBe('[{"n":2}]')
        })

        test('brings readers of any history to one URL', async () => {
          const { stream, poll } = await atTail()
          let old = await call(pollUrl(stream.url, '-1'))
          for (let n = 1; n <= 5; n += 1) {
            await stream.append({ n })
            old = await call(nextPoll(stream.url, old))
          }
          const joined = nextPoll(stream.url, old)
          // One who comes back after a while, and one who is new: both by what others had asked for.
          const { length } = site.relay.requests
          expect(await nextAtTail(stream.url, poll, old)).toBe(joined)
          expect(await nextAtTail(stream.url, pollUrl(stream.url, '-1'), old)).toBe(joined)
          expect(site.relay.requests).toHaveLength(length)
          // One who is new, and has caught up.
          const caughtUp = nextOffset(await call(stream.url))
          await stream.append({ n: 6 })
          const first = await call(`${stream.url}?live=long-poll&offset=${caughtUp}`)
          const same = await call(joined)
          expect(nextPoll(stream.url, first)).toBe(nextPoll(stream.url, same))
        })

        test('outlives the reader who was the first to ask', async () => {
          const { stream, poll } = await atTail()
          const leaver = new AbortController()
          const first = fetch(poll, { signal: leaver.signal })
          await site.relay.until(poll, 1)
          const others = start(poll, 10)
          await site.waiting(10)
          leaver.abort()
          await expect(first).rejects.toThrow()
          await stream.append({ n: 1 })
          for (const { body } of await Promise.all(others)) expect(body).toBe('[{"n":1}]')
          // A cache that stores nothing for one who is gone asks once more.
          expect(site.relay.count(poll)).toBeLessThanOrEqual(2)
        })
      })

      describe('a long-poll that is nobody else’s', () => {
        test.each([
          ['without a cursor', (offset: string) => `live=long-poll&offset=${offset}`],
          ['from now on', () => 'cursor=1&live=long-poll&offset=now'],
        ])('%s is not shared', async (_name, query) => {
          const { stream } = await atTail()
          const url = `${stream.url}?${query(nextOffset(await call(stream.url)))}`
          const waiting = start(url, 2)
          await site.relay.until(url, 2)
          await stream.append({ n: 1 })
          for (const { body } of await Promise.all(waiting)) expect(body).toBe('[{"n":1}]')
          const later = start(url, 1)
          await site.relay.until(url, 3)
          await stream.append({ n: 2 })
          await Promise.all(later)
        })
      })

      describe('a long-poll without data', () => {
        test('at the end of a closed stream is not stored', async () => {
          const { stream, poll } = await atTail()
          await stream.close()
          for (let count = 1; count <= 2; count += 1) {
            const answer = await call(poll)
            expect(answer).toMatchObject({ status: 204, headers: { 'stream-closed': 'true' } })
            expect(site.relay.count(poll)).toBe(count)
          }
        })

        test('at the close tells all who wait', async () => {
          const { stream, poll } = await atTail()
          const waiting = await collapsed(poll, 4)
          await stream.close()
          for (const answer of await Promise.all(waiting)) {
            expect(answer).toMatchObject({ status: 204, headers: { 'stream-closed': 'true' } })
          }
        })
      })

      describe('events', () => {
        test('come as they are appended, to every reader', async () => {
          const { stream } = await atTail()
          const url = `${stream.url}?live=sse&offset=-1`
          const readers = await Promise.all(Array.from({ length: 10 }, () => SseClient.open(url)))
          onTestFinished(() => readers.forEach((reader) => reader.leave()))
          for (let n = 1; n <= 3; n += 1) {
            await stream.append({ n })
            const text = Array.from({ length: n + 1 }, (_, m) => `[{"n":${m}}]`).join('')
            for (const reader of readers) await reader.until((client) => client.text === text)
          }
          expect(site.relay.count(url)).toBe(10)
        })

        test('end at the gateway when the reader leaves', async () => {
          const { stream } = await atTail()
          const reader = await SseClient.open(`${stream.url}?live=sse&offset=-1`)
          await expect.poll(() => site.relay.open).toBe(1)
          reader.leave()
          await expect.poll(() => site.relay.open).toBe(0)
        })
      })
    })

    describe.skipIf(isMissing(cache))('when nothing happens', () => {
      test('a long-poll without data is not stored, and all who wait are answered', async () => {
        const cleanUps = new CleanUps()
        try {
          const site = await startSite(cache, cleanUps, { LONG_POLL_TIMEOUT_MS: '2000' })
          const stream = site.stream()
          await stream.create()
          const first = await call(`${stream.url}?live=long-poll&offset=-1`)
          expect(first.status).toBe(204)
          const poll = nextPoll(stream.url, first)
          const empty = await call(poll)
          expect(empty.status).toBe(204)
          // The next URL is another one: no cache can keep a reader in a circle.
          expect(nextPoll(stream.url, empty)).not.toBe(poll)
          await stream.append({ n: 1 })
          expect(await call(poll)).toMatchObject({ status: 200, body: '[{"n":1}]' })
          const idle = nextPoll(stream.url, await call(poll))
          for (const { status } of await Promise.all(start(idle, 2))) expect(status).toBe(204)
          // It may become a URL that everybody asks for on their own, but for a second only.
          await sleep(1_500)
          const { length } = site.relay.requests
          const polls = start(idle, 2)
          await site.waiting(1, Promise.all(polls))
          await stream.append({ n: 2 })
          for (const { body } of await Promise.all(polls)) expect(body).toBe('[{"n":2}]')
          expect(site.relay.requests).toHaveLength(length + 1)
        } finally {
          await cleanUps.run()
        }
      })
    })
  },
)

/** Polls on from a URL until it has what `last` has: the URL of the poll after that. */
async function nextAtTail(url: string, poll: string, last: Answer): Promise<string> {
  let answer = await call(poll)
  while (nextOffset(answer) !== nextOffset(last)) answer = await call(nextPoll(url, answer))
  return nextPoll(url, answer)
}
