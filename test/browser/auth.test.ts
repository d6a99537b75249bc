/** Pages of another origin read what is private: by tickets, tokens and cookies. */
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JWT_ENV, bearer, inSeconds } from '../support/access-tokens.ts'
import { BROWSER_DEMANDS, launchBrowser, openPage, servePages } from '../support/browser.ts'
import type { Pages } from '../support/browser.ts'
import { selfSigned } from '../support/certificate.ts'
import type { Certificate } from '../support/certificate.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startCuttingProxy } from '../support/cutting-proxy.ts'
import type { CuttingProxy } from '../support/cutting-proxy.ts'
import { freePort } from '../support/free-port.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { Environment } from '../support/gateway-process.ts'
import { JSON_TYPE } from '../support/http-calls.ts'
import { isMissing } from '../support/programs.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { PageReader, request } from './reader.ts'
import { PROJECT, createStream, cutAndResumed, upTo } from './streams.ts'
import type { PageStream } from './streams.ts'

const APP = 'app.example.test'
const STREAMS = 'streams.example.test'
const COOKIE = '__Secure-reader'
const WRITER = bearer({ sub: PROJECT, scope: 'manage' })
const READ = { sub: PROJECT, scope: 'read' }
const REFUSED = { error: 'TypeError: Failed to fetch' }

type Site = {
  readonly gateway: string
  readonly proxy: CuttingProxy
  /** Where pages reach the gateway: over TLS, through the relay. */
  readonly publicUrl: string
}

type ReadStream = PageStream & { readonly url: string }

const ticketsOf = ({ url }: ReadStream): string =>
  new URL('/v1/stream/__ds/tickets', url).toString()

describe.skipIf(BROWSER_DEMANDS.some(isMissing))('a page of another origin', () => {
  const cleanUps = new CleanUps()
  let browser: Browser
  let pages: Pages
  let certificate: Certificate
  let site: Site

  beforeAll(async () => {
    browser = await launchBrowser(cleanUps)
    certificate = await selfSigned(cleanUps)
    pages = await servePages(new URL('page.ts', import.meta.url), cleanUps, certificate)
    site = await startSite({ TICKET_TTL_MS: '60000' })
  })
  afterAll(() => cleanUps.run())

  async function startSite(more: Environment): Promise<Site> {
    const port = await freePort()
    const proxy = await startCuttingProxy(port, certificate)
    cleanUps.add(() => proxy.stop())
    const publicUrl = `https://${STREAMS}:${new URL(proxy.url).port}`
    const env = {
      ...JWT_ENV,
      JWT_CLOCK_TOLERANCE_S: '0',
      GATEWAY_SECRETS: 'g'.repeat(32),
      AUTH_COOKIE: COOKIE,
      CORS_ORIGINS: pages.origin(APP),
      CORS_CREDENTIALS: 'true',
      PUBLIC_URL: publicUrl,
      PORT: String(port),
      DATA_DIR: await temporaryDirectory(cleanUps),
      ...more,
    }
    const { url } = await startGatewayProcess(env, { cleanUps })
    return { gateway: url, proxy, publicUrl }
  }

  /** A stream with so many messages, and the URL that pages have for it. */
  async function streamOf(count: number, { gateway, publicUrl } = site) {
    const stream = await createStream(gateway, WRITER)
    await stream.appendUpTo(count)
    return { ...stream, url: `${publicUrl}${stream.path}` }
  }

  /** What a page has from its own request for a ticket. */
  async function askForTicket(page: Page, stream: ReadStream, more: object = {}, claims = READ) {
    const answer = await request(page, ticketsOf(stream), {
      method: 'POST',
      headers: { ...JSON_TYPE, ...bearer(claims) },
      body: JSON.stringify({ stream: stream.name, ...more }),
      credentials: 'include',
    })
    expect(answer).toMatchObject({ status: 201 })
    const { body } = answer as { readonly body: string }
    return JSON.parse(body) as { readonly url: string; readonly ticket?: string }
  }

  const openApp = () => openPage(browser, pages.origin(APP))

  test('reads by EventSource with a ticket, which resumes where it was cut', async () => {
    const stream = await streamOf(5)
    const page = await openApp()
    const { url } = await askForTicket(page, stream)
    expect(url).toMatch(`${stream.url}?ticket=`)
    const reader = await PageReader.events(page, `${url}&live=sse&offset=-1`)
    await cutAndResumed(reader, stream, site.proxy)
    expect(await reader.seen()).toMatchObject({
      opened: 3,
      failures: 2,
      control: { upToDate: true, streamClosed: true },
    })
  })

  test('goes on beyond the time of its ticket, which then begins nothing more', async () => {
    const short = await startSite({ TICKET_TTL_MS: '3000' })
    const stream = await streamOf(1, short)
    const page = await openApp()
    const { url } = await askForTicket(page, stream)
    const reader = await PageReader.events(page, `${url}&live=sse&offset=-1`)
    await reader.received(1)
    await expect.poll(() => request(page, url), { timeout: 10_000 }).toMatchObject({ status: 401 })
    await stream.appendUpTo(2)
    await reader.received(2)
    short.proxy.cut()
    await reader.ended()
    await stream.appendUpTo(3)
    expect(await reader.seen()).toMatchObject({ messages: upTo(2), opened: 1, failures: 2 })
    const next = await askForTicket(page, stream)
    expect(await request(page, next.url)).toMatchObject({ body: JSON.stringify(upTo(3)) })
  })

  test.each(['sse', 'long-poll'] as const)(
    'reads by the official client with a token, live=%s, which resumes where it was cut',
    async (live) => {
      const stream = await streamOf(5)
      const page = await openApp()
      const options = { url: stream.url, live, headers: bearer(READ) }
      await cutAndResumed(await PageReader.client(page, options), stream, site.proxy)
    },
  )

  test('reads by EventSource with a cookie, and no page of a forbidden origin does', async () => {
    const stream = await streamOf(5)
    const page = await openApp()
    expect(await askForTicket(page, stream, { cookie: true })).not.toHaveProperty('ticket')
    const [cookie] = await page.context().cookies(stream.url)
    expect(cookie).toMatchObject({ name: COOKIE, httpOnly: true, secure: true, sameSite: 'None' })
    expect(await page.evaluate(() => document.cookie)).toBe('')
    const url = `${stream.url}?live=sse&offset=-1`
    // One that does not ask to send it, is nobody.
    const anonymous = await PageReader.events(page, url)
    await anonymous.ended()
    expect(await anonymous.seen()).toMatchObject({ messages: [], opened: 0 })
    await cutAndResumed(await PageReader.events(page, url, true), stream, site.proxy)
    for (const host of ['evil.test', `evil.${APP}`]) {
      await page.goto(pages.origin(host))
      const reader = await PageReader.events(page, url, true)
      await reader.ended()
      expect(await reader.seen()).toMatchObject({ messages: [], opened: 0, control: undefined })
      expect(await request(page, stream.url, { credentials: 'include' })).toEqual(REFUSED)
    }
  })

  test('that is forbidden gets nothing, whatever it has', async () => {
    const stream = await streamOf(1)
    const { url } = await askForTicket(await openApp(), stream)
    const page = await openPage(browser, pages.origin('evil.test'))
    const headers = bearer({ sub: PROJECT, scope: 'manage' })
    for (const query of ['', '?live=sse&offset=-1', '?live=long-poll&offset=-1']) {
      expect(await request(page, `${stream.url}${query}`, { headers })).toEqual(REFUSED)
    }
    expect(await request(page, url)).toEqual(REFUSED)
    const tickets = ticketsOf(stream)
    const body = JSON.stringify({ stream: stream.name })
    expect(await request(page, tickets, { method: 'POST', headers, body })).toEqual(REFUSED)
    const reader = await PageReader.events(page, `${url}&live=sse&offset=-1`)
    await reader.ended()
    expect(await reader.seen()).toMatchObject({ messages: [], opened: 0, control: undefined })
  })

  describe('whose token expires', () => {
    const soon = () => ({ ...READ, exp: inSeconds(6) })

    test('has its connection ended by a control event', async () => {
      const stream = await streamOf(3)
      const page = await openApp()
      const headers = bearer(soon())
      // An error, were it cut.
      const whole = await request(page, `${stream.url}?live=sse&offset=-1`, { headers })
      expect(whole).toMatchObject({ status: 200 })
      const { body } = whole as { readonly body: string }
      const events = [...body.matchAll(/^event: (.*)$/gm)].map(([, event]) => event)
      expect(events).toEqual(['data', 'control', 'control'])
      const again = await request(page, stream.url, { headers })
      const told = expect.stringContaining('token_expired') as string
      expect(again).toMatchObject({ status: 401, body: told })
    })

    test('has had all there was by then, by EventSource, and is refused', async () => {
      const stream = await streamOf(3)
      const page = await openApp()
      const { url } = await askForTicket(page, stream, {}, soon())
      const reader = await PageReader.events(page, `${url}&live=sse&offset=-1`)
      await reader.received(3)
      await stream.appendUpTo(5)
      await reader.received(5)
      await reader.ended()
      await stream.appendUpTo(6)
      const { messages, ...seen } = await reader.seen()
      expect(messages).toEqual(upTo(5))
      // It ended, and what the browser then tried by itself was refused.
      expect(seen).toMatchObject({ opened: 1, failures: 2, control: { upToDate: true } })
    })

    test.each(['sse', 'long-poll'] as const)('is told so, by the client, live=%s', async (live) => {
      const stream = await streamOf(3)
      const page = await openApp()
      const options = { url: stream.url, live, headers: bearer(soon()) }
      const reader = await PageReader.client(page, options)
      await reader.received(3)
      await reader.ended()
      expect((await reader.seen()).messages).toEqual(upTo(3))
    })
  })

  test('sees the reader key, and what it is refused for', async () => {
    const stream = await streamOf(1)
    const page = await openApp()
    const head = await request(page, stream.url, { method: 'HEAD', headers: bearer(READ) })
    const key = expect.stringMatching(/^rk_/) as string
    expect(head).toMatchObject({ status: 200, headers: { 'stream-reader-key': key } })
    const created = await request(page, `${stream.url}-2`, { method: 'PUT', headers: WRITER })
    expect(created).toMatchObject({ status: 201, headers: { 'stream-reader-key': key } })
    const scheme = expect.stringMatching(/^Bearer/) as string
    const refused = { 'www-authenticate': scheme }
    expect(await request(page, stream.url)).toMatchObject({ status: 401, headers: refused })
    const put = await request(page, `${stream.url}-3`, { method: 'PUT', headers: bearer(READ) })
    expect(put).toMatchObject({ status: 403, headers: refused })
  })
})
