/** What browsers need: CORS, and the security headers of PROTOCOL §12.7. */
import cors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'
import {
  PRODUCER_EPOCH,
  PRODUCER_EXPECTED_SEQ,
  PRODUCER_ID,
  PRODUCER_RECEIVED_SEQ,
  PRODUCER_SEQ,
  STREAM_CLOSED,
  STREAM_CURSOR,
  STREAM_EARLIEST_OFFSET,
  STREAM_EXPIRES_AT,
  STREAM_NEXT_OFFSET,
  STREAM_PUBLIC,
  STREAM_READER_KEY,
  STREAM_SEQ,
  STREAM_SSE_DATA_ENCODING,
  STREAM_TTL,
  STREAM_UP_TO_DATE,
} from '../../protocol/headers.ts'
import { STREAM_PREFIX, pathOf } from '../stream-url.ts'

export const STREAM_METHODS = 'GET, HEAD, PUT, POST, DELETE, OPTIONS'

const ALLOWED = [
  'Authorization',
  'Cache-Control',
  'Content-Type',
  'If-None-Match',
  'Last-Event-ID',
  STREAM_CLOSED,
  STREAM_EXPIRES_AT,
  STREAM_PUBLIC,
  STREAM_SEQ,
  STREAM_TTL,
  PRODUCER_ID,
  PRODUCER_EPOCH,
  PRODUCER_SEQ,
]
const EXPOSED = [
  'ETag',
  'Location',
  'Retry-After',
  STREAM_NEXT_OFFSET,
  STREAM_CURSOR,
  STREAM_UP_TO_DATE,
  STREAM_CLOSED,
  STREAM_TTL,
  STREAM_EXPIRES_AT,
  STREAM_PUBLIC,
  STREAM_READER_KEY,
  STREAM_SSE_DATA_ENCODING,
  PRODUCER_EPOCH,
  PRODUCER_SEQ,
  PRODUCER_EXPECTED_SEQ,
  PRODUCER_RECEIVED_SEQ,
  STREAM_EARLIEST_OFFSET,
]
/** Browsers keep a preflight for at most two hours, some for less. */
const PREFLIGHT_MAX_AGE_S = 7200

const EXPOSED_HEADERS = EXPOSED.join(', ')

/** What every response carries, also those that are given before any hook could run. */
export const BROWSER_HEADERS: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'cross-origin',
  // Whatever answers without a class of its own must not be stored.
  'cache-control': 'no-store',
  'access-control-allow-origin': '*',
  'access-control-expose-headers': EXPOSED_HEADERS,
}

export async function registerBrowser(app: FastifyInstance): Promise<void> {
  app.addHook('onRequest', (request, reply, done) => {
    void reply.headers(BROWSER_HEADERS)
    if (request.method === 'OPTIONS' && pathOf(request).startsWith(STREAM_PREFIX)) {
      void reply.header('allow', STREAM_METHODS)
    }
    done()
  })
  // In a scope of its own, with no route but that for OPTIONS: what it would do for each other
  // request are the headers above.
  await app.register(async (preflights) => {
    await preflights.register(cors, {
      origin: '*',
      methods: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'],
      allowedHeaders: ALLOWED,
      exposedHeaders: EXPOSED_HEADERS,
      maxAge: PREFLIGHT_MAX_AGE_S,
      // An OPTIONS that is no preflight is a question too, and not an error.
      strictPreflight: false,
    })
  })
}
