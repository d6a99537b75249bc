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

/** One batch of a group: conditional on the one before, by its place and its fencing token. */
export type GroupBatch<Life> = {
  readonly batch: MarkedBatch
  /** Only the last one has it. */
  readonly end?: GroupEnd<Life>
}

export type GroupEnd<Life> = {
  /** Seq num of the record that commits the group. */
  readonly last: SeqNum
  readonly after: LogState<Life>
}

type GroupOptions = {
  readonly now: number
  readonly operation: string
  readonly owner: string
}

/**
 * Makes a group of records, the last of which commits it. Each batch is made when it is asked for:
 * there may be hundreds, and all at once they would take long and much memory.
 *
 * @throws InvariantError one of the records fits in no batch
 */
export function* composeGroup<Life>(
  rules: Rules<Life>,
  state: LogState<Life>,
  records: Iterable<AppendRecord>,
  options: GroupOptions,
): Generator<GroupBatch<Life>, void, void> {
  const { now, operation } = options
  let made = 0
  const toBatch = (): MarkedBatch => draft.toBatch(`${operation}.${made++}`)
  let draft = Draft.begin(rules, state, now)
  /** Whether the draft holds nothing of the group yet: a checkpoint at most. */
  let isBare = true
  for (const { fence, record } of marked(records, state.fencingToken, options)) {
    // A record that does not fit may have a checkpoint before it, and that one may be large too.
    while (!draft.add([...fence, withContext(record, draft.state)])) {
      invariant(!draft.isEmpty, 'each record of a group fits in a batch')
      yield { batch: toBatch() }
      // A checkpoint that leaves no room must not be followed by the next one.
      draft = isBare ? new Draft(rules, draft.after, now) : Draft.begin(rules, draft.after, now)
      isBare = true
    }
    isBare = false
  }
  yield { batch: toBatch(), end: { last: draft.state.nextSeq - 1, after: draft.after } }
}

type MarkedRecord = { readonly fence: readonly AppendRecord[]; readonly record: AppendRecord }

/** The records behind the one that opens the lock, of which the last one ends it. */
function* marked(
  records: Iterable<AppendRecord>,
  openToken: string,
  { operation, owner }: GroupOptions,
): Generator<MarkedRecord, void, void> {
  const begin = encodeBegin({ id: operation, owner, openToken }, NO_CONTEXT)
  yield { fence: [{ kind: 'fence', token: lockToken(operation) }], record: begin }
  let last: AppendRecord | undefined
  for (const record of records) {
    if (last !== undefined) yield { fence: [], record: last }
    last = record
  }
  invariant(last !== undefined, 'a group has a record that commits it')
  yield { fence: [{ kind: 'fence', token: openToken }], record: withCommit(last, operation) }
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
