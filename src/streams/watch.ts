/**
 * Whoever has to know of everything that changes streams: a port, so that the rules of streams
 * need not know who that is.
 */
import type { Offset } from '../protocol/offset.ts'

/** What became of a stream. */
export type Growth =
  | { readonly kind: 'grown'; readonly tail: Offset }
  /** `removed`: it is gone; `unclear`: somebody has to look; `none`: nothing of interest. */
  | { readonly kind: 'removed' | 'unclear' | 'none' }

export interface StreamWatch {
  /**
   * Runs what may change a stream. Whatever becomes of this process, what has changed is known
   * afterwards to whoever watches.
   *
   * @param growthOf what an answer says of the stream; after a failure that leaves it open
   *   whether something has changed, that is `unclear`
   * @throws GatewayError what `run` throws; or the watcher is not ready, and nothing was run
   */
  around<Answer>(
    stream: string,
    run: () => Promise<Answer>,
    growthOf: (answer: Answer) => Growth,
  ): Promise<Answer>
}

/** Nobody has to know. */
export const NO_WATCH: StreamWatch = { around: (_stream, run) => run() }
