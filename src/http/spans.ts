/** The spans of requests, where requests are traced. */
import type { FastifyRequest } from 'fastify'
import type { Span } from '../tracing/tracing.ts'

const spans = new WeakMap<FastifyRequest, Span>()

export function keepSpan(request: FastifyRequest, span: Span): void {
  spans.set(request, span)
}

/** The span of a request, if it has one. */
export function spanOf(request: FastifyRequest): Span | undefined {
  return spans.get(request)
}
