/**
 * A real browser, and pages for it from origins of the test's choice: every name below `.test` is
 * this machine, so that an origin is a name and the port of the pages.
 */
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import type { Browser, Page } from 'playwright-core'
import { onTestFinished } from 'vitest'
import type { Certificate } from './certificate.ts'
import type { CleanUps } from './clean-ups.ts'
import { findProgram } from './programs.ts'
import type { Demand } from './programs.ts'

const BROWSER = 'chromium'

/** What suites with a browser need; openssl makes certificates. */
export const BROWSER_DEMANDS: readonly Demand[] = [
  { package: BROWSER, programs: [BROWSER] },
  { package: 'openssl', programs: ['openssl'] },
]

/** Starts the system's chromium, without a window. */
export async function launchBrowser(cleanUps: CleanUps): Promise<Browser> {
  const executablePath = findProgram(BROWSER)
  if (executablePath === undefined) throw new Error(`${BROWSER} is not installed`)
  const browser = await chromium.launch({
    executablePath,
    // Its sandbox can't be had by root.
    chromiumSandbox: process.getuid?.() !== 0,
    args: ['--host-resolver-rules=MAP *.test 127.0.0.1', '--no-proxy-server'],
  })
  cleanUps.add(() => browser.close())
  return browser
}

export type Pages = {
  /** The origin of the pages under a name such as `app.example.test`. */
  readonly origin: (host: string) => string
}

/** Serves a page that runs one script, made of the given file and all it imports, at any name. */
export async function servePages(
  script: URL,
  cleanUps: CleanUps,
  certificate?: Certificate,
): Promise<Pages> {
  const code = await bundle(fileURLToPath(script))
  const serve: http.RequestListener = ({ url }, response) => {
    const isScript = url === '/page.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8')
    response.end(isScript ? code : '<!doctype html><script src="/page.js"></script>')
  }
  const server =
    certificate === undefined ? http.createServer(serve) : https.createServer(certificate, serve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanUps.add(async () => {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  })
  const scheme = certificate === undefined ? 'http' : 'https'
  const { port } = server.address() as AddressInfo
  return { origin: (host) => `${scheme}://${host}:${port}` }
}

/** Opens the page of an origin, in a browser profile of its own that goes with the test. */
export async function openPage(browser: Browser, origin: string): Promise<Page> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true })
  onTestFinished(() => context.close())
  const page = await context.newPage()
  await page.goto(origin)
  return page
}

async function bundle(entry: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    platform: 'browser',
    target: 'es2022',
    logLevel: 'silent',
  })
  return outputFiles[0]?.text ?? ''
}
