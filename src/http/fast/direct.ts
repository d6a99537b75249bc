/**
 * Writes on a socket's handle, below its stream: those who write the same bytes to thousands of
 * sockets need none of what a stream does for each of them. The gain is in `../README.md`.
 *
 * This is of Node's inside, and all that the gateway takes of it; no types say what it is like.
 * Where it is not as known here, {@link directWrites} is undefined and sockets are written to as
 * everywhere else.
 */
import type { Socket } from 'node:net'

/** `waiting`: the kernel has not taken all of it; what is left goes on by itself. */
export type DirectResult = 'written' | 'waiting' | 'failed'

export interface DirectWrites {
  /** Undefined when a socket can't be written to so, or not yet: its stream holds something back. */
  open(socket: Socket): DirectHandle | undefined
  /** Must not be called again once one waits, before `owner` is told that it does no more. */
  write(handle: DirectHandle, bytes: Buffer, owner: DirectOwner): DirectResult
  /** Bytes that a socket's handle has taken and the kernel has not. */
  waiting(socket: Socket): number
}

declare const brand: unique symbol

/** What a socket's stream writes to in the end. */
export type DirectHandle = { readonly [brand]: 'DirectHandle' }

export interface DirectOwner {
  /** What waited is written, or never will be. */
  settled(ok: boolean): void
}

type WriteRequest = {
  oncomplete?: (status: number) => void
  buffer?: Buffer
}

type Handle = DirectHandle & {
  writeBuffer(request: WriteRequest, bytes: Buffer): number
  readonly writeQueueSize: number
}

type SocketInside = Socket & { readonly _handle?: Partial<Handle> | null }

type StreamWrap = {
  readonly WriteWrap: new () => WriteRequest
  readonly streamBaseState: ArrayLike<number>
  readonly kLastWriteWasAsync: number
}

class Writes implements DirectWrites {
  readonly #wrap: StreamWrap
  /** For the next write: one that the kernel takes at once leaves nothing in it. */
  #request: WriteRequest

  constructor(wrap: StreamWrap) {
    this.#wrap = wrap
    this.#request = new wrap.WriteWrap()
  }

  open(socket: Socket): DirectHandle | undefined {
    const { _handle: handle } = socket as SocketInside
    const isKnown =
      typeof handle?.writeBuffer === 'function' && typeof handle.writeQueueSize === 'number'
    const isFree = socket.writableLength === 0 && socket.writable && !socket.connecting
    return isKnown && isFree ? (handle as Handle) : undefined
  }

  waiting(socket: Socket): number {
    return (socket as SocketInside)._handle?.writeQueueSize ?? 0
  }

  write(handle: Handle, bytes: Buffer, owner: DirectOwner): DirectResult {
    const { WriteWrap, streamBaseState, kLastWriteWasAsync } = this.#wrap
    const request = this.#request
    const error = handle.writeBuffer(request, bytes)
    if (error === 0 && streamBaseState[kLastWriteWasAsync] === 0) return 'written'
    this.#request = new WriteWrap()
    if (error !== 0) return 'failed'
    // As long as the kernel has not taken them, nobody else may keep them.
    request.buffer = bytes
    request.oncomplete = (status) => owner.settled(status === 0)
    return 'waiting'
  }
}

function find(): DirectWrites | undefined {
  const { WriteWrap, streamBaseState, kLastWriteWasAsync } = streamWrap()
  const isKnown =
    typeof WriteWrap === 'function' &&
    typeof kLastWriteWasAsync === 'number' &&
    typeof streamBaseState?.[kLastWriteWasAsync] === 'number'
  return isKnown ? new Writes({ WriteWrap, streamBaseState, kLastWriteWasAsync }) : undefined
}

function streamWrap(): Partial<StreamWrap> {
  const inside = process as { binding?: (name: string) => Partial<StreamWrap> }
  try {
    return inside.binding?.('stream_wrap') ?? {}
  } catch {
    // There is none of that name any more, or it may not be had.
    return {}
  }
}

/** Undefined unless Node's inside is as known here. */
export const directWrites: DirectWrites | undefined = find()
