/**
 * One command as several batches that count together or not at all. PURE.
 *
 * ```
 * first batch    [checkpoint] fence(lock) begin part...
 * further ones   [checkpoint] part...
 * last batch     [checkpoint] part... fence(as before) commit
 * ```
 *
 * What changes the state is in one record, the commit, because a page of the log may end anywhere.
 * Each fence stands before a record that names the checkpoint: the last record of a log does, and
 * so it is opened in three reads.
 */
import { invariant } from '../errors.ts'
import type { AppendRecord, SeqNum } from '../log/log.ts'
import { Draft } from './draft.ts'
import type { MarkedBatch } from './draft.ts'
import { withCommit, withContext } from './envelope.ts'
import { encodeAbort, encodeBegin, lockToken } from './lock.ts'
import type { LogState, Rules } from './state.ts'

export type Group<Life> = {
  /** Each is conditional on the one before: its place and its fencing token. */
  readonly batches: readonly MarkedBatch[]
  /** Seq num of the record that commits it. */
  readonly last: SeqNum
  readonly after: LogState<Life>
}

type GroupOptions = {
  readonly now: number
  readonly operation: string
  readonly owner: string
}

/** Makes a group of records, the last of which commits it; undefined when one fits in no batch. */
export function composeGroup<Life>(
  rules: Rules<Life>,
  state: LogState<Life>,
  records: readonly AppendRecord[],
  { now, operation, owner }: GroupOptions,
): Group<Life> | undefined {
  const { fencingToken: openToken } = state
  const batches: MarkedBatch[] = []
  let draft = Draft.begin(rules, state, now)
  /** Whether the draft holds nothing of the group yet: a checkpoint at most. */
  let isBare = true
  const cut = (): void => {
    batches.push(draft.toBatch(`${operation}.${batches.length}`))
    // A checkpoint that leaves no room must not be followed by the next one.
    draft = isBare ? new Draft(rules, draft.after, now) : Draft.begin(rules, draft.after, now)
    isBare = true
  }
  const put = (fence: string | undefined, record: AppendRecord): boolean => {
    // A record that does not fit may have a checkpoint before it, and that one may be large too.
    for (;;) {
      const placed = withContext(record, draft.state)
      const added =
        fence === undefined ? [placed] : [{ kind: 'fence', token: fence } as const, placed]
      if (draft.add(added)) {
        isBare = false
        return true
      }
      if (draft.isEmpty) return false
      cut()
    }
  }
  put(lockToken(operation), encodeBegin({ id: operation, owner, openToken }, NO_CONTEXT))
  const last = records.length - 1
  const fit = records.every((record, index) =>
    index === last ? put(openToken, withCommit(record, operation)) : put(undefined, record),
  )
  if (!fit) return undefined
  batches.push(draft.toBatch(`${operation}.${batches.length}`))
  return { batches, last: draft.state.nextSeq - 1, after: draft.after }
}

/**
 * The batch that ends the open group of a state, so that nothing of it ever counts. Whoever still
 * writes the group is fenced off by it.
 */
export function composeAbort<Life>(
  rules: Rules<Life>,
  state: LogState<Life>,
  { now, operation }: Omit<GroupOptions, 'owner'>,
): MarkedBatch {
  const { lock, fencingToken } = state
  invariant(lock !== undefined, 'only an open group can be aborted')
  const draft = Draft.begin(rules, state, now)
  // An S2 client may have set a token of its own meanwhile: then that one stays.
  const fences: AppendRecord[] =
    fencingToken === lockToken(lock.id) ? [{ kind: 'fence', token: lock.openToken }] : []
  const abort = (to: Draft<Life>): boolean => to.add([...fences, encodeAbort(lock.id, to.state)])
  if (abort(draft)) return draft.toBatch(operation)
  const bare = new Draft(rules, state, now)
  invariant(abort(bare), 'an abort fits in a batch')
  return bare.toBatch(operation)
}

const NO_CONTEXT = { checkpoint: undefined }
