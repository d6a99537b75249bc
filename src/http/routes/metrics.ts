/** What is counted, for those who operate the gateway. */
import type { FastifyPluginCallback } from 'fastify'

/** What there is to show. */
export type Page = {
  readonly contentType: string
  text(): Promise<string>
  bill(): object
}

const OPERATOR = { config: { access: 'operator' } } as const

export const metricsRoutes: FastifyPluginCallback<{ readonly page: Page }> = (
  app,
  { page },
  done,
) => {
  app.get('/metrics', OPERATOR, async (_request, reply) => {
    // As bytes: to a string the framework would add a second charset.
    const text = Buffer.from(await page.text())
    return reply
      .header('cache-control', 'no-store')
      .header('content-type', page.contentType)
      .send(text)
  })

  app.get('/bill', OPERATOR, async (_request, reply) => {
    const json = Buffer.from(`${JSON.stringify(page.bill(), undefined, 2)}\n`)
    return reply
      .header('cache-control', 'no-store')
      .header('content-type', 'application/json')
      .send(json)
  })
  done()
}
