/** What subscriptions need of streams, and nothing else of them. */
import { StreamGoneError, StreamNotFoundError } from '../errors.ts'
import { beginningOf, offsetOf } from '../streams/lineage.ts'
import type { StreamService } from '../streams/service.ts'
import type { WakeEvent } from './delivery.ts'

export type StreamTail = {
  /** The offset after the last message. */
  readonly offset: string
  readonly isEmpty: boolean
}

export interface Streams {
  /** Undefined when there is no such stream. */
  tailOf(stream: string): Promise<StreamTail | undefined>
  /**
   * Appends a wake event; the same generation of a producer is stored once.
   *
   * @throws GatewayError as {@link StreamService.append}
   */
  announce(stream: string, event: WakeEvent): Promise<void>
}

/** Streams as a service has them; it is asked for only when it is needed. */
export function streamsOf(service: () => StreamService): Streams {
  return {
    tailOf: async (stream) => {
      try {
        const view = await service().describe(stream)
        const isEmpty = view.dataTail === beginningOf(view)
        return { offset: offsetOf(view, view.dataTail), isEmpty }
      } catch (error) {
        if (error instanceof StreamNotFoundError || error instanceof StreamGoneError)
          return undefined
        throw error
      }
    },
    announce: async (stream, { producer: id, generation, body }) => {
      await service().append(stream, {
        contentType: 'application/json',
        body,
        close: false,
        // Each generation is an epoch of its own, with a single append.
        producer: id === undefined ? undefined : { id, epoch: generation, seq: 0 },
        streamSeq: undefined,
      })
    },
  }
}
