/** Which pages may read and write is for the gateway to say, and for the browser to enforce. */
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BROWSER_DEMANDS, launchBrowser, openPage, servePages } from '../support/browser.ts'
import type { Pages } from '../support/browser.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { GatewayProcess } from '../support/gateway-process.ts'
import { appendJson, createJsonStream, readJson } from '../support/http-calls.ts'
import { isMissing } from '../support/programs.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { PageReader, request } from './reader.ts'

const APP = 'app.example.test'
const JSON_TYPE = { 'content-type': 'application/json' }

describe.skipIf(BROWSER_DEMANDS.some(isMissing))('with one origin allowed', () => {
  const cleanUps = new CleanUps()
  let browser: Browser
  let pages: Pages
  let gateway: GatewayProcess

  beforeAll(async () => {
    browser = await launchBrowser(cleanUps)
    pages = await servePages(new URL('page.ts', import.meta.url), cleanUps)
    const env = { AUTH: 'none', CORS_ORIGINS: pages.origin(APP) }
    const directory = await temporaryDirectory(cleanUps)
    gateway = await startGatewayProcess({ ...env, DATA_DIR: directory }, { cleanUps })
  })
  afterAll(() => cleanUps.run())

  async function streamWith(name: string, message: unknown): Promise<string> {
    const url = gateway.stream(name)
    await createJsonStream(url)
    await appendJson(url, message)
    return url
  }

  test('its page reads, follows and writes', async () => {
    const url = await streamWith('allowed', { n: 0 })
    const page = await openPage(browser, pages.origin(APP))
    expect(await request(page, url)).toMatchObject({ status: 200, body: '[{"n":0}]' })
    const reader = await PageReader.events(page, `${url}?live=sse&offset=-1`)
    await reader.received(1)
    const post = { method: 'POST', headers: JSON_TYPE, body: '{"n":1}' }
    expect(await request(page, url, post)).toMatchObject({ status: 204 })
    await reader.received(2)
    expect((await reader.seen()).messages).toEqual([{ n: 0 }, { n: 1 }])
  })

  test.each([
    ['another site', 'evil.test'],
    ['a name below it', `evil.${APP}`],
    ['a name that begins like it', `${APP}.evil.test`],
    ['a sister', 'other.example.test'],
  ])('a page of %s gets nothing, and changes nothing', async (name, host) => {
    const url = await streamWith(name.replaceAll(' ', '-'), { n: 0 })
    const page = await openPage(browser, pages.origin(host))
    const refused = { error: 'TypeError: Failed to fetch' }
    expect(await request(page, url)).toEqual(refused)
    for (const live of ['sse', 'long-poll'] as const) {
      expect(await request(page, `${url}?live=${live}&offset=-1`)).toEqual(refused)
    }
    const reader = await PageReader.events(page, `${url}?live=sse&offset=-1`)
    await reader.ended()
    expect(await reader.seen()).toMatchObject({ messages: [], opened: 0, control: undefined })
    for (const [method, body] of [
      ['POST', '{"n":1}'],
      ['PUT', undefined],
      ['DELETE', undefined],
    ] as const) {
      const init = { method, headers: JSON_TYPE, ...(body !== undefined && { body }) }
      expect(await request(page, url, init)).toEqual(refused)
      expect(await request(page, `${url}-new`, init)).toEqual(refused)
    }
    expect(await readJson(url)).toEqual([{ n: 0 }])
    expect((await fetch(`${url}-new`)).status).toBe(404)
  })
})
