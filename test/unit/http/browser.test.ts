import Fastify from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { loadConfig } from '../../../src/config.ts'
import { Cors } from '../../../src/http/cors.ts'
import { registerBrowser } from '../../../src/http/plugins/browser.ts'
import { frameworkErrorHandler, registerErrors } from '../../../src/http/plugins/errors.ts'

const A = 'https://a.example'
const PRIVATE = 'Authorization, Cookie'

const close: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of close.splice(0)) await end()
})

function start(env: Record<string, string>) {
  const cors = new Cors(loadConfig(env).cors)
  const app = Fastify({ frameworkErrors: frameworkErrorHandler(cors, 8192) })
  registerBrowser(app, cors)
  registerErrors(app, systemClock, cors)
  app.get('/plain', () => 'x')
  app.get('/private', (_request, reply) => reply.header('Vary', PRIVATE).send('x'))
  app.get('/revalidated', (_request, reply) => reply.code(304).headers({ vary: PRIVATE }).send())
  app.get('/anything', (_request, reply) => reply.header('vary', '*').send('x'))
  app.get('/bug', (_request, reply) => {
    void reply.header('vary', PRIVATE)
    throw new TypeError('inside')
  })
  close.push(() => app.close())
  return (url: string) => app.inject({ url, headers: { origin: A } })
}

/** A route may say of its own what its answer depends on. */
describe('an answer', () => {
  test.each([
    ['/plain', 'Origin'],
    ['/private', `${PRIVATE}, Origin`],
    ['/revalidated', `${PRIVATE}, Origin`],
    ['/anything', '*'],
    ['/bug', `${PRIVATE}, Origin`],
    ['/nothing', 'Origin'],
    ['/%zz', 'Origin'],
  ])('to %s varies with %s where origins are listed', async (url, vary) => {
    const ask = start({ CORS_ORIGINS: A })
    const { headers } = await ask(url)
    expect(headers).toMatchObject({ vary, 'access-control-allow-origin': A })
  })

  test.each([
    ['/plain', undefined],
    ['/private', PRIVATE],
    ['/nothing', undefined],
    ['/%zz', undefined],
  ])('to %s varies with %s where all may read', async (url, vary) => {
    const ask = start({})
    const { headers } = await ask(url)
    expect([headers.vary, headers['access-control-allow-origin']]).toEqual([vary, '*'])
  })
})
