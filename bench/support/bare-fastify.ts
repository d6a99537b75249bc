/** The yardstick: a Fastify route that takes the same POST as the gateway and answers 204. */
import Fastify from 'fastify'

const app = Fastify({ logger: false })
app.removeAllContentTypeParsers()
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => {
  done(null, body)
})
app.route({
  method: ['PUT', 'POST'],
  url: '/v1/stream/*',
  handler: (_request, reply) => reply.code(204).send(),
})
process.stdout.write(`${await app.listen({ host: '127.0.0.1', port: 0 })}\n`)
process.on('SIGTERM', () => process.exit(0))
