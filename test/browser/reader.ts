/** A reader in a page, as the test sees it. */
import type { Page } from 'playwright-core'
import type { ClientOptions, Outcome, Seen } from './page.ts'

/** A busy machine, and three seconds that a browser waits before it reconnects. */
const TIMEOUT_MS = 30_000

export class PageReader {
  readonly #page: Page

  private constructor(page: Page) {
    this.#page = page
  }

  /** Starts an `EventSource`. */
  static async events(page: Page, url: string, withCredentials = false): Promise<PageReader> {
    await page.evaluate(
      ({ url, withCredentials }) => {
        window.seen = window.readEvents(url, withCredentials)
      },
      { url, withCredentials },
    )
    return new PageReader(page)
  }

  /** Starts the official client. */
  static async client(page: Page, options: ClientOptions): Promise<PageReader> {
    await page.evaluate((options) => {
      window.seen = window.readByClient(options)
    }, options)
    return new PageReader(page)
  }

  seen(): Promise<Seen> {
    return this.#page.evaluate(() => window.seen)
  }

  /** Resolves once it has so many messages. */
  async received(count: number): Promise<void> {
    await this.#page.waitForFunction((count) => window.seen.messages.length >= count, count, WAIT)
  }

  /** Resolves once it expects nothing more. */
  async ended(): Promise<void> {
    await this.#page.waitForFunction(() => window.seen.ended, undefined, WAIT)
  }
}

/** Not at every frame: a page in the background has none. */
const WAIT = { polling: 20, timeout: TIMEOUT_MS }

/** Sends a request from the page by `fetch`. */
export function request(page: Page, url: string, init: RequestInit = {}): Promise<Outcome> {
  return page.evaluate(({ url, init }) => window.request(url, init), { url, init })
}
