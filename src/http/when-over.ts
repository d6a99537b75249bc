/**
 * When a response is over, whatever became of it.
 *
 * Node tells a response of the end of its connection only if it had its turn on it: not one that
 * was asked for behind others.
 */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** What is to be called for each connection: one listener, however many requests came by it. */
const waiting = new WeakMap<Socket, Set<() => void>>()

/** Calls `run` once, when the response is sent or its connection is gone. */
export function whenOver(response: ServerResponse, run: () => void): void {
  const { socket } = response.req
  if (response.destroyed || socket.destroyed) return run()
  const others = waitingFor(socket)
  const over = (): void => {
    others.delete(over)
    response.removeListener('close', over)
    run()
  }
  others.add(over)
  response.once('close', over)
}

function waitingFor(socket: Socket): Set<() => void> {
  const known = waiting.get(socket)
  if (known !== undefined) return known
  const runs = new Set<() => void>()
  waiting.set(socket, runs)
  socket.once('close', () => {
    for (const run of runs) run()
  })
  return runs
}
