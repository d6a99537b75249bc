/**
 * What a gateway may do to the key log, decided over its state. PURE: the keys are made before,
 * and only the one whose record counts is ever used.
 */
import type { Command } from '../journal/command.ts'
import { incarnationToken } from '../journal/state.ts'
import { encodeKeyAdded, encodeKeyRemoved, encodeKeysCreated } from './keys-codec.ts'
import type { KeyMaterial } from './keys-material.ts'
import { isRotationDue, retiredKeys } from './keys-state.ts'
import type { KeyRingState, KeyTimes } from './keys-state.ts'

/** Begins the log with its first key, unless somebody has. */
export function createKeysCommand(id: string, key: KeyMaterial): Command<KeyRingState, undefined> {
  return ({ incarnation }) => {
    if (incarnation !== undefined) return { kind: 'answer', answer: undefined }
    const fencingToken = incarnationToken(id)
    return {
      kind: 'write',
      records: [
        { kind: 'fence', token: fencingToken },
        encodeKeysCreated({ id, fencingToken, key }),
      ],
      answer: undefined,
    }
  }
}

/** Removes what is retired, and adds the key as a successor if one is due. */
export function maintainKeysCommand(
  key: KeyMaterial,
  times: KeyTimes,
): Command<KeyRingState, undefined> {
  return ({ incarnation, checkpoint }, now) => {
    if (incarnation === undefined) return { kind: 'answer', answer: undefined }
    const { publishMs } = times
    const context = { checkpoint }
    const records = retiredKeys(incarnation, now, times).map((kid) =>
      encodeKeyRemoved(context, kid),
    )
    if (isRotationDue(incarnation, now, times)) {
      records.push(encodeKeyAdded(context, { key, publishMs }))
    }
    return records.length === 0
      ? { kind: 'answer', answer: undefined }
      : { kind: 'write', records, answer: undefined }
  }
}
