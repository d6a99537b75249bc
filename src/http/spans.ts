/** The spans of requests, where requests are traced. */
import type { Socket } from 'node:net'
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

/** Of requests that were begun in the fast lane: the next ones that Node has of these connections. */
const passed = new WeakMap<Socket, Span>()

/** The request of this span goes on where Fastify has it. */
export function passSpan(socket: Socket, span: Span): void {
  passed.set(socket, span)
}

/** The span of the request that comes, if it was begun before. */
export function takeSpan(socket: Socket): Span | undefined {
  const span = passed.get(socket)
  passed.delete(socket)
  return span
}
