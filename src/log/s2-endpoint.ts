/** Where the streams of one basin are, and what every request to them carries. */
import { S2Endpoints } from '@s2-dev/streamstore'

/** How long a connection may take to be there, in ms: as the SDK's own. */
export const CONNECT_TIMEOUT_MS = 3000

export type BasinAddress = {
  /** One URL for account and basin, as s2-lite has it. Without it: managed S2. */
  readonly endpoint?: string | undefined
  readonly accessToken: string
  readonly basin: string
}

export class BasinEndpoint {
  readonly origin: string
  readonly headers: Readonly<Record<string, string>>
  readonly #path: string

  /** @throws S2Error the endpoint is none that S2 could have */
  constructor({ endpoint, accessToken, basin }: BasinAddress) {
    const endpoints = new S2Endpoints(endpoint === undefined ? {} : { basin: endpoint })
    const { origin, pathname } = new URL(endpoints.basinBaseUrl(basin))
    this.origin = origin
    this.#path = `${pathname.replace(/\/$/, '')}/streams/`
    this.headers = {
      authorization: `Bearer ${accessToken}`,
      ...(endpoints.includeBasinHeader ? { 's2-basin': basin } : {}),
    }
  }

  /** The path of a stream's records. */
  recordsOf(stream: string): string {
    return `${this.#path}${encodeURIComponent(stream)}/records`
  }
}
