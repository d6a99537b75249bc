/**
 * References of forks, decided over the state of their source (PROTOCOL §4.2). PURE.
 *
 * A reference is named by the incarnation of its fork, so that taking or giving it up twice is
 * once.
 */
import { ForkSourceError, RequestError } from '../errors.ts'
import { refuse } from '../journal/command.ts'
import type { Command } from '../journal/command.ts'
import { encodeBarrier, encodeForkAdded, encodeForkRemoved } from './codec.ts'
import { existing, retained } from './existence.ts'
import type { Incarnation } from './state.ts'

/**
 * How many forks may read one stream's data directly: all of them stand in each of its
 * checkpoints.
 */
const MAX_REFERENCES = 1000
/** Of their names and ids, for the same reason: with the most producers they fit in a record. */
const MAX_REFERENCE_BYTES = 96 * 1024

export type NewReference = {
  /** The incarnation of the fork that is about to be created. */
  readonly id: string
  /** The name of that fork. */
  readonly name: string
  /** The incarnation of the source that the fork point was found in. */
  readonly source: string
}

/** Keeps the source's data for a fork. */
export function addReferenceCommand({
  id,
  name,
  source,
}: NewReference): Command<Incarnation, undefined> {
  return (state, now) => {
    const found = existing(state, now)
    if (found?.id !== source) {
      const gone = retained(state, now) !== undefined
      return refuse(new ForkSourceError(gone ? 'fork_source_gone' : 'fork_source_not_found'))
    }
    if (found.references.has(id)) return { kind: 'answer', answer: undefined }
    if (!hasRoom(found.references.set(id, { name, since: now }))) {
      return refuse(new RequestError('too_many_forks', 'the stream has as many forks as it may'))
    }
    const context = { checkpoint: state.checkpoint }
    return { kind: 'write', records: [encodeForkAdded(context, id, name)], answer: undefined }
  }
}

/** Gives a reference up. */
export function removeReferenceCommand(id: string): Command<Incarnation, undefined> {
  return (state) => {
    const held = state.incarnation?.references.has(id) === true
    if (!held) return { kind: 'answer', answer: undefined }
    const context = { checkpoint: state.checkpoint }
    return { kind: 'write', records: [encodeForkRemoved(context, id)], answer: undefined }
  }
}

/**
 * Makes sure that an incarnation that does not exist yet never will: a creation under way finds
 * that the log has moved, and takes a new reference under a new name. Answers whether it exists.
 */
export function barCommand(id: string): Command<Incarnation, boolean> {
  return (state) => {
    if (state.incarnation?.id === id) return { kind: 'answer', answer: true }
    const context = { checkpoint: state.checkpoint }
    return { kind: 'write', records: [encodeBarrier(context)], answer: false }
  }
}

function hasRoom(references: Incarnation['references']): boolean {
  if (references.size > MAX_REFERENCES) return false
  return Buffer.byteLength(JSON.stringify(references)) <= MAX_REFERENCE_BYTES
}
