/** Pages of another origin read, and lose nothing when their connections are cut. */
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BROWSER_DEMANDS, launchBrowser, openPage, servePages } from '../support/browser.ts'
import type { Pages } from '../support/browser.ts'
import { selfSigned } from '../support/certificate.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startCuttingProxy } from '../support/cutting-proxy.ts'
import type { CuttingProxy } from '../support/cutting-proxy.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { isMissing } from '../support/programs.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { PageReader, request } from './reader.ts'
import { createStream, cutAndResumed } from './streams.ts'

const APP = 'app.example.test'
const STREAMS = 'streams.example.test'

describe.skipIf(BROWSER_DEMANDS.some(isMissing))('a page of another origin', () => {
  const cleanUps = new CleanUps()
  let browser: Browser

  beforeAll(async () => {
    browser = await launchBrowser(cleanUps)
  })
  afterAll(() => cleanUps.run())

  describe.each(['http', 'https'] as const)('over %s', (scheme) => {
    let pages: Pages
    let proxy: CuttingProxy
    let gateway: string

    beforeAll(async () => {
      const running = await startGatewayProcess(
        { AUTH: 'none', DATA_DIR: await temporaryDirectory(cleanUps) },
        { cleanUps },
      )
      gateway = running.url
      const certificate = scheme === 'https' ? await selfSigned(cleanUps) : undefined
      proxy = await startCuttingProxy(Number(new URL(gateway).port), certificate)
      cleanUps.add(() => proxy.stop())
      pages = await servePages(new URL('page.ts', import.meta.url), cleanUps, certificate)
    })

    /** A stream, with the URL that pages have for it: through the relay. */
    async function create() {
      const stream = await createStream(gateway)
      const { port } = new URL(proxy.url)
      return { ...stream, url: `${scheme}://${STREAMS}:${port}${stream.path}` }
    }

    test('reads by EventSource, which resumes where it was cut', async () => {
      const stream = await create()
      await stream.appendUpTo(5)
      const page = await openPage(browser, pages.origin(APP))
      const reader = await PageReader.events(page, `${stream.url}?live=sse&offset=-1`)
      await cutAndResumed(reader, stream, proxy)
      expect(await reader.seen()).toMatchObject({
        opened: 3,
        failures: 2,
        control: { upToDate: true, streamClosed: true },
      })
    })

    test.each(['sse', 'long-poll'] as const)(
      'reads by the official client, live=%s, which resumes where it was cut',
      async (live) => {
        const stream = await create()
        await stream.appendUpTo(5)
        const page = await openPage(browser, pages.origin(APP))
        const reader = await PageReader.client(page, { url: stream.url, live })
        await cutAndResumed(reader, stream, proxy)
      },
    )

    test('writes with the protocol’s headers, and sees those of the answers', async () => {
      const page = await openPage(browser, pages.origin(APP))
      const { path, url } = await create()
      const type = { 'content-type': 'application/json' }
      const created = await request(page, `${url}-2`, {
        method: 'PUT',
        headers: { ...type, 'stream-ttl': '60' },
      })
      const location = expect.stringContaining(`${path}-2`) as string
      expect(created).toMatchObject({ status: 201, headers: { location } })
      const head = await request(page, `${url}-2`, { method: 'HEAD' })
      expect(head).toMatchObject({ status: 200, headers: { 'stream-ttl': '60' } })
      const producer = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }
      const appended = await request(page, `${url}-2`, {
        method: 'POST',
        headers: { ...type, ...producer, 'stream-seq': '1', 'stream-closed': 'true' },
        body: '[{"n":0}]',
      })
      expect(appended).toMatchObject({
        status: 200,
        headers: { 'producer-epoch': '0', 'producer-seq': '0', 'stream-closed': 'true' },
      })
      const read = await request(page, `${url}-2`)
      expect(read).toMatchObject({
        status: 200,
        body: '[{"n":0}]',
        headers: { 'stream-up-to-date': 'true', 'stream-closed': 'true' },
      })
      const etag = 'headers' in read ? read.headers['etag'] : undefined
      expect(etag).toBeDefined()
      expect(
        await request(page, `${url}-2`, { headers: { 'if-none-match': String(etag) } }),
      ).toMatchObject({ status: 304 })
      expect(await request(page, `${url}-2`, { method: 'DELETE' })).toMatchObject({ status: 204 })
    })
  })
})
