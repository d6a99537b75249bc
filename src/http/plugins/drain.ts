/** Leaving: once it has begun, new requests are sent to another gateway. */
import type { FastifyInstance } from 'fastify'
import { ShuttingDownError } from '../../errors.ts'
import { OPS_PATHS } from '../routes/ops.ts'

export class Drain {
  #begun = false

  begin(): void {
    this.#begun = true
  }

  get begun(): boolean {
    return this.#begun
  }

  /** @throws ShuttingDownError once the drain has begun */
  refuseIfBegun(): void {
    if (this.#begun) throw new ShuttingDownError()
  }
}

/** Refuses what arrives after the drain began, and lets no connection be used again. */
export function registerDrain(app: FastifyInstance, drain: Drain): void {
  app.addHook('onRequest', (request, _reply, done) => {
    // Who watches wants to see it leave.
    if (!OPS_PATHS.has(request.url)) drain.refuseIfBegun()
    done()
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (drain.begun) void reply.header('connection', 'close')
    done()
  })
}
