/** A shared cache and pages of several origins: what one of them may read is no answer for others. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { call } from '../support/http-calls.ts'
import { isMissing } from '../support/programs.ts'
import { SHARED_CACHES } from './caches.ts'
import { nextPoll, startSite } from './site.ts'
import type { Site } from './site.ts'

const A = 'https://a.example'
const B = 'https://b.example'
const FORBIDDEN = 'https://evil.example'

/** Who asks, and whom the answer says it may be read by. */
const ASKED: readonly (readonly [origin: string | undefined, allowed: string | undefined])[] = [
  [A, A],
  [B, B],
  [FORBIDDEN, undefined],
  [undefined, undefined],
]

const headersOf = (origin: string | undefined) => ({
  headers: origin === undefined ? {} : { origin },
})

describe.each(SHARED_CACHES.map((cache) => ({ cache, name: cache.package })))(
  'origins behind $name',
  ({ cache }) => {
    describe.skipIf(isMissing(cache))('', () => {
      const cleanUps = new CleanUps()
      let site: Site

      beforeAll(async () => {
        site = await startSite(cache, cleanUps, { CORS_ORIGINS: `${A},${B}` })
      })
      afterAll(() => cleanUps.run())

      /** In whatever order they come, each by itself. */
      test.each([
        ['the allowed first', ASKED],
        ['the forbidden first', [...ASKED].reverse()],
      ])('each is answered for itself from what is stored, %s', async (_name, asked) => {
        const stream = site.stream()
        await stream.create()
        await stream.append(Array.from({ length: 1500 }, (_, n) => n))
        const url = `${stream.url}?offset=-1`
        for (const round of ['fetched', 'stored']) {
          for (const [origin, allowed] of asked) {
            const { status, headers } = await call(url, headersOf(origin))
            const seen = [round, status, headers['access-control-allow-origin'], headers.vary]
            expect(seen).toEqual([round, 200, allowed, expect.stringMatching(/\borigin\b/i)])
          }
        }
        expect(site.relay.count(url)).toBe(asked.length)
      })

      test('each gets the answer to a poll that it waits for with others', async () => {
        const stream = site.stream()
        await stream.create()
        await stream.append({ n: 0 })
        const poll = nextPoll(stream.url, await call(`${stream.url}?live=long-poll&offset=-1`))
        const polls = [...ASKED, ...ASKED].map(async ([origin, allowed]) => {
          const { body, headers } = await call(poll, headersOf(origin))
          expect([body, headers['access-control-allow-origin']]).toEqual(['[{"n":1}]', allowed])
        })
        const all = Promise.all(polls)
        await site.relay.until(poll, 1)
        await site.waiting(polls.length - 1)
        await stream.append({ n: 1 })
        await all
        expect(site.relay.count(poll)).toBe(ASKED.length)
      })
    })
  },
)
