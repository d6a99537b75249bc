/**
 * The records of the key log and their bodies. PURE.
 *
 * JSON, so that `s2 read` shows them to a person; whoever may read them can sign in our name.
 * They say nothing of when: that is the log's own timestamp.
 */
import { z } from 'zod'
import { InvariantError } from '../errors.ts'
import { encodeRecord, kindOf } from '../journal/envelope.ts'
import type { RecordContext } from '../journal/envelope.ts'
import type { AppendRecord, LogRecord } from '../log/log.ts'
import type { KeyMaterial } from './keys-material.ts'
import { kidOf } from './signature.ts'

/** A key in its place in time; both in ms, by the log's clock. */
export type LogKey = KeyMaterial & {
  readonly addedAt: number
  /** From here on it signs, until a later key does. Until then it is only published. */
  readonly activeAt: number
}

/** The record that begins the log, with the key that signs at once. */
export type KeysCreation = {
  readonly id: string
  readonly fencingToken: string
  readonly key: KeyMaterial
}

/** A successor, which signs `publishMs` after its record's timestamp. */
export type KeyAddition = { readonly key: KeyMaterial; readonly publishMs: number }

export type KeysSnapshot = {
  readonly id: string
  readonly fencingToken: string
  readonly keys: readonly LogKey[]
}

/** The meaning of one record. */
export type KeysEntry =
  | ({ readonly kind: 'created' } & KeysCreation)
  | ({ readonly kind: 'key-added' } & KeyAddition)
  | { readonly kind: 'key-removed'; readonly kid: string }
  | ({ readonly kind: 'checkpoint' } & KeysSnapshot)
  | { readonly kind: 'fence'; readonly token: string }
  /** A command, a kind of a later version, or what an S2 client wrote: it changes no key. */
  | { readonly kind: 'other' }

/** 32 bytes in unpadded base64url. */
const bytes32 = z.string().regex(/^[\w-]{43}$/)
const material = z.object({ kid: z.string(), x: bytes32, d: bytes32, secret: bytes32 })
const isNamedByItself = ({ kid, x }: { kid: string; x: string }): boolean => kid === kidOf(x)
const keySchema = material.refine(isNamedByItself)
const logKeySchema = material
  .extend({ addedAt: z.number(), activeAt: z.number() })
  .refine(isNamedByItself)

const head = { v: z.literal(1), id: z.string(), fencingToken: z.string() }
const creationSchema = z.object({ ...head, key: keySchema })
const additionSchema = z.object({ v: z.literal(1), key: keySchema, publishMs: z.int().min(0) })
const removalSchema = z.object({ v: z.literal(1), kid: z.string() })
const snapshotSchema = z.object({ ...head, keys: z.array(logKeySchema).min(1) })

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Says what a record means.
 *
 * @throws InvariantError it claims to be one of ours and can't be read. Passing over it would let
 *   gateways of two versions disagree about who signs.
 */
export function decodeKeysRecord(record: LogRecord): KeysEntry {
  if (record.kind === 'fence') return { kind: 'fence', token: record.token }
  if (record.kind === 'trim') return { kind: 'other' }
  const kind = kindOf(record)
  switch (kind) {
    case 'created':
      return { kind, ...read(record.body, kind, creationSchema) }
    case 'key-added':
      return { kind, ...read(record.body, kind, additionSchema) }
    case 'key-removed':
      return { kind, ...read(record.body, kind, removalSchema) }
    case 'checkpoint':
      return { kind, ...read(record.body, kind, snapshotSchema) }
    default:
      return { kind: 'other' }
  }
}

/** Writes the record that begins the log. */
export function encodeKeysCreated(creation: KeysCreation): AppendRecord {
  return encodeRecord('created', write(creation))
}

/** Writes a successor. */
export function encodeKeyAdded(context: RecordContext, addition: KeyAddition): AppendRecord {
  return encodeRecord('key-added', write(addition), context)
}

/** Writes the end of a key. */
export function encodeKeyRemoved(context: RecordContext, kid: string): AppendRecord {
  return encodeRecord('key-removed', write({ kid }), context)
}

/** Writes the whole state. */
export function encodeKeysCheckpoint(snapshot: KeysSnapshot): AppendRecord {
  return encodeRecord('checkpoint', write(snapshot))
}

function write(body: object): Uint8Array {
  return Buffer.from(JSON.stringify({ v: 1, ...body }))
}

function read<Body extends { v: number }>(
  body: Uint8Array,
  kind: string,
  schema: z.ZodType<Body>,
): Omit<Body, 'v'> {
  try {
    const { v: _version, ...rest } = schema.parse(JSON.parse(utf8.decode(body)))
    return rest
  } catch {
    // Without the cause: it may quote the body, and with it a secret.
    throw new InvariantError(`a ${kind} record in the key log can't be read`)
  }
}
