/** Refuses requests while the gateway has enough to do; but never to say whether it lives. */
import type { FastifyInstance } from 'fastify'
import type { Admission } from '../admission.ts'
import { OPS_PATHS } from '../routes/ops.ts'

export function registerAdmission(app: FastifyInstance, admission: Admission): void {
  app.addHook('onRequest', (request, _reply, done) => {
    done(OPS_PATHS.has(request.url) ? undefined : admission.refusal(request.raw.socket))
  })
  app.addHook('onSend', (request, reply, _payload, done) => {
    if (admission.isRefused(request.raw.socket)) void reply.header('connection', 'close')
    done()
  })
}
