/**
 * Request bodies, received into memory within bounds: of one, of all together, and of time.
 *
 * A body counts from its first byte until its request is answered, whatever became of the client:
 * an append that waits for the log still holds it.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { RequestError } from '../../errors.ts'
import type { ByteBudget, Share } from '../byte-budget.ts'

type Done = (error: Error | null, body?: Buffer) => void

/** Receives every body as bytes, of whatever type; routes bound the size of one. */
export function registerBodies(app: FastifyInstance, budget: ByteBudget): void {
  const shares = new WeakMap<FastifyRequest, Share>()
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (request: FastifyRequest, raw: IncomingMessage, done: Done) => {
    const share = budget.open()
    shares.set(request, share)
    const length = Number(request.headers['content-length'] ?? NaN)
    const limit = request.routeOptions.bodyLimit
    receive(raw, { share, length, limit }).then(
      (body) => done(null, body),
      (error: unknown) => {
        share.close()
        done(error instanceof Error ? error : new Error(String(error)))
      },
    )
  })
  app.addHook('onSend', (request, _reply, _payload, done) => {
    shares.get(request)?.close()
    done()
  })
}

type Bounds = {
  readonly share: Share
  /** What the client says it sends; NaN when it does not say. */
  readonly length: number
  readonly limit: number
}

/**
 * @throws RequestError `payload_too_large`, `bad_request`
 * @throws OverloadedError
 */
function receive(raw: IncomingMessage, { share, length, limit }: Bounds): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let received = 0
    const leave = (): void => {
      raw.off('data', onData).off('end', onEnd).off('error', onBroken).off('close', onBroken)
    }
    // What is left of it is read and dropped by Node once the answer is sent.
    const fail = (error: unknown): void => {
      leave()
      reject(error instanceof Error ? error : new Error(String(error)))
    }
    const admit = (bytes: number): boolean => {
      try {
        if (bytes > limit) throw tooLarge()
        share.growTo(bytes)
        return true
      } catch (error) {
        fail(error)
        return false
      }
    }
    const onData = (chunk: Buffer): void => {
      received += chunk.length
      if (admit(received)) chunks.push(chunk)
    }
    const onEnd = (): void => {
      leave()
      // A copy always: the chunks are parts of larger buffers.
      resolve(Buffer.concat(chunks, received))
    }
    const onBroken = (): void => fail(new RequestError('bad_request', 'the body broke off'))
    if (!Number.isNaN(length) && !admit(length)) return
    raw.on('data', onData).on('end', onEnd).on('error', onBroken).on('close', onBroken)
  })
}

function tooLarge(): RequestError {
  return new RequestError('payload_too_large', 'the body is larger than this server takes')
}
