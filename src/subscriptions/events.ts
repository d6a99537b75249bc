/**
 * The records of a subscription's log: what each says, as JSON that `s2 read` shows to a person.
 * PURE.
 */
import { z } from 'zod'
import { InvariantError } from '../errors.ts'

/** The offset before the first message of any stream. */
export const BEFORE_FIRST = '-1'

/**
 * Where a tail lies in its stream's own log. Tails are compared by this alone: a stream that is
 * made anew goes on behind the old one, also where a fork's offsets sort before or after it.
 */
export function placeOf(tail: string): number {
  return tail === BEFORE_FIRST ? -1 : Number(tail.slice(tail.indexOf('_') + 1))
}

const config = z.object({
  type: z.enum(['webhook', 'pull-wake']),
  pattern: z.string().optional(),
  webhookUrl: z.string().optional(),
  wakeStream: z.string().optional(),
  leaseTtlMs: z.int().positive(),
  description: z.string().optional(),
  /** Hash of all above, as the client gave it: the same request again finds the same. */
  hash: z.string(),
  /** The root of stream URLs as the subscriber reaches them: `https://host/v1/stream/`. */
  root: z.string(),
  /** Of whoever has made it: nobody of another one may use it. Absent where there are none. */
  project: z.string().optional(),
})

/** What a client chose when it created the subscription, normalised. Never changes afterwards. */
export type SubscriptionConfig = Readonly<z.infer<typeof config>>

const count = z.int().nonnegative()
/** Offsets by stream, as pairs: any name may be a stream's, and not any may be a JSON key. */
const offsets = z.array(z.tuple([z.string(), z.string()]).readonly()).readonly()
const linkType = z.enum(['explicit', 'glob'])
const phase = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('sending'), attempt: count }),
  z.object({ kind: z.literal('waiting'), attempt: count, until: z.number() }),
  z.object({ kind: z.literal('announced') }),
  z.object({
    kind: z.literal('leased'),
    until: z.number(),
    holder: z
      .string()
      .optional()
      .transform((holder): string | undefined => holder),
  }),
])
const link = z.tuple([z.string(), count, z.string(), z.string()]).readonly()
const snapshot = z.object({
  fencingToken: z.string(),
  life: z
    .object({
      id: z.string(),
      creator: z.string(),
      config,
      createdAt: z.number(),
      ready: z.boolean(),
      generation: count,
      wake: z.object({ id: z.string(), runner: z.string(), tails: offsets, phase }).optional(),
      /** Path, 1 for explicit plus 2 for glob, acked, tail. */
      links: z.array(link).readonly(),
    })
    .optional(),
})

/** The whole state, as a checkpoint stores it; without `life` there is no subscription. */
export type SubscriptionSnapshot = Readonly<z.infer<typeof snapshot>>

const bodies = {
  created: z.object({ id: z.string(), fencingToken: z.string(), creator: z.string(), config }),
  deleted: z.object({ fencingToken: z.string() }),
  checkpoint: snapshot,
  /** All streams that matched on creation are linked. */
  ready: z.object({ streams: z.int().nonnegative() }),
  /** Linked at these tails, where there is no link yet. */
  linked: z.object({
    type: linkType,
    streams: z.array(z.object({ path: z.string(), tail: z.string() })).readonly(),
  }),
  /** The client's own links end. */
  unlinked: z.object({ streams: z.array(z.string()).readonly() }),
  /** These streams are gone. */
  forgotten: z.object({ streams: z.array(z.string()).readonly() }),
  /** Streams have grown to these tails. */
  noted: z.object({ tails: offsets }),
  /** A wake is issued. */
  wake: z.object({ id: z.string(), generation: count, runner: z.string(), tails: offsets }),
  /** Webhook: it was accepted. Pull-wake: its event is in the wake stream. */
  sent: z.object({ leaseMs: count }),
  /** An attempt failed; the next is due after a delay. */
  failed: z.object({ attempt: count, delayMs: count, reason: z.string() }),
  /** A worker has the lease, and was told of these tails. */
  claimed: z.object({ worker: z.string(), runner: z.string(), tails: offsets }),
  /** Progress; unless it is done the lease is renewed. */
  acked: z.object({ acks: offsets, done: z.boolean(), leaseMs: count }),
  /** The wake ends with work undone. */
  ended: z.object({ reason: z.enum(['released', 'expired']) }),
  /** Another gateway delivers and watches the wake from here on. */
  adopted: z.object({ runner: z.string() }),
} as const

type Kind = keyof typeof bodies

/** The meaning of one record. */
export type SubscriptionEvent = {
  readonly [K in Kind]: { readonly kind: K } & Readonly<z.infer<(typeof bodies)[K]>>
}[Kind]

/**
 * Says what a record means; undefined for a kind of a later version, which changes nothing.
 *
 * @throws InvariantError it claims to be ours and can't be read: passing over it would let
 *   gateways of two versions disagree
 */
export function decodeEvent(kind: string, body: Uint8Array): SubscriptionEvent | undefined {
  return decodeKind(bodies, kind, body) as SubscriptionEvent | undefined
}

/** Reads a record by the schema of its kind; undefined when there is none. */
export function decodeKind(
  schemas: Readonly<Record<string, z.ZodType<object>>>,
  kind: string,
  body: Uint8Array,
): { readonly kind: string } | undefined {
  const schema = Object.hasOwn(schemas, kind) ? schemas[kind] : undefined
  return schema === undefined ? undefined : { ...parseJson(schema, kind, body), kind }
}

/** The body of a record, in JSON. */
export function encodeJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

function parseJson<Body>(schema: z.ZodType<Body>, kind: string, body: Uint8Array): Body {
  try {
    return schema.parse(JSON.parse(Buffer.from(body).toString()))
  } catch (error) {
    throw new InvariantError(`a ${kind} record can't be read`, { cause: error })
  }
}
