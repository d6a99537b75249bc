/**
 * The life of a hub as a pure state machine: states, events, effects. PURE.
 *
 * Records never pass through here. What can happen to a hub is in `HubEvent`; what is not there
 * can't happen. `hub.ts` runs the effects.
 */

/** Why a hub ended, and with it every subscriber it still had. */
export type StopReason =
  | 'idle'
  | 'shutdown'
  | 'stream_deleted'
  | 'stream_expired'
  /** Records are missing between what the hub has and what the log still holds. */
  | 'gap'
  /** The hub broke an invariant: it stops, the process lives. */
  | 'failed'

/** `generation` numbers our read sessions, so that a late callback is told from a current one. */
export type HubState =
  | { readonly phase: 'starting' | 'live' | 'sealed'; readonly generation: number }
  | { readonly phase: 'recovering'; readonly generation: number; readonly attempt: number }
  | { readonly phase: 'stopped'; readonly reason: StopReason }

export type HubEvent =
  /** The session delivered its first batch or heartbeat; a response head proves nothing. */
  | { readonly type: 'opened'; readonly generation: number }
  | { readonly type: 'lost'; readonly generation: number }
  /** The stream was closed: nothing left to read, the ring still serves. */
  | { readonly type: 'eof'; readonly generation: number }
  /** Armed when the last subscriber left; there may be a new one by now. */
  | { readonly type: 'linger_elapsed'; readonly subscribers: number }
  | { readonly type: 'stop'; readonly reason: StopReason }

export type HubEffect =
  | { readonly run: 'open_session'; readonly generation: number; readonly attempt: number }
  | { readonly run: 'close_session' }
  | { readonly run: 'release'; readonly reason: StopReason }

export type Step = readonly [HubState, readonly HubEffect[]]

/** How a hub begins: following an open stream, or sealed when there is nothing to follow. */
export function begin(closed: boolean): Step {
  if (closed) return [{ phase: 'sealed', generation: 0 }, []]
  return [
    { phase: 'starting', generation: 0 },
    [{ run: 'open_session', generation: 0, attempt: 0 }],
  ]
}

/** What an event makes of a hub. */
export function transition(state: HubState, event: HubEvent): Step {
  if (state.phase === 'stopped') return [state, []]
  // A late callback from a read session we already replaced is not news.
  if ('generation' in event && event.generation !== state.generation) return [state, []]
  // A sealed hub has no session that could say anything.
  if ('generation' in event && state.phase === 'sealed') return [state, []]
  switch (event.type) {
    case 'opened':
      if (state.phase === 'live') return [state, []]
      return [{ phase: 'live', generation: state.generation }, []]
    case 'lost':
      return reopen(state.generation + 1, state.phase === 'recovering' ? state.attempt + 1 : 1)
    case 'eof':
      return [{ phase: 'sealed', generation: state.generation + 1 }, [{ run: 'close_session' }]]
    case 'linger_elapsed':
      return event.subscribers === 0 ? stop('idle') : [state, []]
    case 'stop':
      return stop(event.reason)
  }
}

/** Never gives up while somebody listens: readers stay, and go on when the log is back. */
function reopen(generation: number, attempt: number): Step {
  return [
    { phase: 'recovering', generation, attempt },
    [{ run: 'close_session' }, { run: 'open_session', generation, attempt }],
  ]
}

function stop(reason: StopReason): Step {
  return [{ phase: 'stopped', reason }, [{ run: 'close_session' }, { run: 'release', reason }]]
}
