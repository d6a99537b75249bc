/** Refuses requests while the gateway has enough to do; but never to say whether it lives. */
import type { FastifyInstance } from 'fastify'
import { Admission } from '../admission.ts'
import type { AdmissionOptions } from '../admission.ts'
import { LoopDelay } from '../loop-delay.ts'
import { OPS_PATHS } from '../routes/ops.ts'

/** Looks at the event loop until the server is closed. */
export function openAdmission(
  app: FastifyInstance,
  options: Omit<AdmissionOptions, 'loopDelayMs'>,
): Admission {
  const delay = new LoopDelay()
  const admission = new Admission({ ...options, loopDelayMs: () => delay.ms })
  app.addHook('onRequest', (request, _reply, done) => {
    done(OPS_PATHS.has(request.url) ? undefined : admission.refusal(request.raw.socket))
  })
  app.addHook('onSend', (request, reply, _payload, done) => {
    if (admission.isRefused(request.raw.socket)) void reply.header('connection', 'close')
    done()
  })
  app.addHook('onClose', (_app, done) => {
    delay.stop()
    done()
  })
  return admission
}
