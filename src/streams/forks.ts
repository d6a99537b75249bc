/**
 * Forks: streams that inherit the data of another by reference (PROTOCOL §4.2).
 *
 * A reference is taken in the source's log before the fork is created in its own, and given up
 * after the fork is gone; so data is never lost too early, and a crash in between leaves at worst
 * a reference too many. {@link Forks.collect} finds those.
 */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../clock.ts'
import {
  ForkSourceError,
  AppendOutcomeUnknownError,
  LogUnavailableError,
  RequestError,
  StreamConflictError,
  StreamRetainedError,
} from '../errors.ts'
import { sameContentType } from '../protocol/content-type.ts'
import type { ForkPoint } from '../protocol/fork.ts'
import type { CreateRequest } from '../protocol/requests.ts'
import type { ForkOrigin, Reference } from './bodies.ts'
import { buryUnseenCommand, compare, createCommand } from './create.ts'
import type { CreateAnswer, Moved, NewFork, NewStream, Released, Requested } from './create.ts'
import { existing, retained } from './existence.ts'
import { resolveForkPoint } from './fork-point.ts'
import type { ReadChunk } from './fork-point.ts'
import { forkAt, oversize } from './lineage.ts'
import { addReferenceCommand, barCommand, removeReferenceCommand } from './reference.ts'
import type { Incarnation } from './state.ts'
import type { StreamLog } from './stream-log.ts'
import type { StreamView } from './view.ts'

export type ForksOptions = {
  readonly clock: Clock
  readonly open: (name: string) => StreamLog
  readonly maxProducers: number
  readonly read: ReadChunk
  readonly onBackgroundError: (task: string, error: unknown) => void
}

/** A creation that starts over: another gateway is creating, or cleaning up, at the same name. */
const MAX_ATTEMPTS = 5
/** A reference younger than this may belong to a creation under way. */
const REFERENCE_GRACE_MS = 30_000

/** How soon the forks of one stream are looked at again. */
const COLLECT_INTERVAL_MS = 5_000

/** A fork point that is not said. */
const TAIL: ForkPoint = { offset: undefined, subOffset: 0 }

/** A fork's origin as its creator says it. */
/** Asked with the very source that is about to be forked; throws when it may not be. */
export type ConfirmSource = (source: StreamView) => void

type Asked = Pick<ForkOrigin, 'source' | 'offset' | 'subOffset'>

export class Forks {
  readonly #options: ForksOptions
  readonly #collecting = new Set<string>()

  constructor(options: ForksOptions) {
    this.#options = options
  }

  /**
   * Creates a fork, or finds the one that the same request made.
   *
   * @throws ForkSourceError
   * @throws StreamConflictError
   * @throws RequestError `invalid_fork`, `invalid_offset`, `offset_beyond_tail`, `too_many_forks`,
   *   `too_many_aborted_appends`
   * @throws OffsetGoneError the source has dropped the data before the fork point
   */
  async create(
    name: string,
    source: string,
    request: CreateRequest,
    confirm?: ConfirmSource,
  ): Promise<CreateAnswer> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const answer = await this.#tryCreate(name, source, request, confirm)
      if (answer.kind !== 'moved') return answer
    }
    throw new LogUnavailableError()
  }

  async #tryCreate(
    name: string,
    source: string,
    request: CreateRequest,
    confirm: ConfirmSource | undefined,
  ): Promise<CreateAnswer | Moved> {
    const { clock, open, maxProducers } = this.#options
    const { body, close, expiry, isPublic, traceparent, fork: point = TAIL } = request
    const target = await open(name).refresh()
    const asked = { source, ...spelling(point) }
    const found = existing(target, clock.now())
    // Its source may be gone by now; what was inherited then stands in the fork.
    if (found !== undefined) return decide(compare(found, again(found, request, asked)))
    if (retained(target, clock.now()) !== undefined) throw new StreamRetainedError()
    const from = await this.#source(source)
    confirm?.(from)
    const config = { ...inherit(from, request), maxProducers, isPublic }
    const { position, prefix } = await resolveForkPoint(from, point, this.#options.read)
    const inheritsExpiry = expiry.kind === 'never'
    const lineage = forkAt(from, position)
    const excess = oversize(lineage)
    if (excess !== undefined) throw tooScattered(excess)
    const origin = { ...asked, inheritsExpiry, lineage }
    const fork = { origin, prefix, expectedSeq: target.nextSeq }
    return this.#createWith(fork, name, from, { config, body, close, traceparent })
  }

  async #createWith(
    fork: NewFork,
    name: string,
    source: StreamView,
    rest: Omit<NewStream, 'id' | 'fork'>,
  ): Promise<CreateAnswer | Moved> {
    const { open } = this.#options
    const id = randomBytes(12).toString('base64url')
    const reference = { id, name, source: source.incarnation }
    const released = { source: source.name, id }
    try {
      await open(source.name).execute(addReferenceCommand(reference))
      const answer = await open(name).execute(createCommand({ id, fork, ...rest }))
      // Somebody else made the stream: this reference is nobody's.
      if (answer.kind !== 'created') this.releaseLater(released)
      return answer
    } catch (error) {
      // Unless the fork may have come to be, nobody needs the reference.
      if (!(error instanceof AppendOutcomeUnknownError)) this.releaseLater(released)
      if (isFull(error)) this.collect(source.name)
      throw error
    }
  }

  async #source(name: string): Promise<StreamView> {
    const { clock, open } = this.#options
    const stream = open(name)
    const state = await stream.refresh()
    const found = existing(state, clock.now())
    if (found !== undefined) return stream.view(state, found)
    const gone = retained(state, clock.now()) !== undefined
    if (gone) this.collect(name)
    throw new ForkSourceError(gone ? 'fork_source_gone' : 'fork_source_not_found')
  }

  /** Gives up a reference that nobody needs, and buries the source if it was the last one. */
  async release(released: Released | undefined): Promise<void> {
    for (let next = released; next !== undefined;) {
      const { source, id } = next
      const stream = this.#options.open(source)
      await stream.execute(removeReferenceCommand(id))
      next = await stream.execute(buryUnseenCommand)
    }
  }

  /** As {@link release}, without anybody waiting. */
  releaseLater(released: Released | undefined): void {
    if (released === undefined) return
    this.release(released).catch((error: unknown) =>
      this.#options.onBackgroundError('release', error),
    )
  }

  /**
   * Looks for forks that are gone though their reference is not, and buries the stream if none is
   * left. For a stream that only its forks keep; returns at once. It costs a look at every fork,
   * so whoever keeps asking for a stream that is gone makes it happen only now and then.
   */
  collect(name: string): void {
    if (this.#collecting.has(name)) return
    this.#collecting.add(name)
    this.#collect(name)
      .catch((error: unknown) => this.#options.onBackgroundError('collect', error))
      .finally(() => {
        this.#options.clock.after(COLLECT_INTERVAL_MS, () => this.#collecting.delete(name))
      })
  }

  async #collect(name: string): Promise<void> {
    const stream = this.#options.open(name)
    const { incarnation } = await stream.refresh()
    for (const [id, reference] of incarnation?.references ?? []) {
      if (!(await this.#isNeeded(id, reference))) await this.release({ source: name, id })
    }
    await this.release(await stream.execute(buryUnseenCommand))
  }

  async #isNeeded(id: string, { name, since }: Reference): Promise<boolean> {
    const { clock, open } = this.#options
    const fork = open(name)
    const state = await fork.refresh()
    if (state.incarnation?.id === id) {
      if (existing(state, clock.now()) !== undefined) return true
      if (retained(state, clock.now()) !== undefined) return true
      // Expired, and nobody has noticed. Another gateway's clock may still let it be forked.
      await fork.execute(buryUnseenCommand)
      return (await fork.refresh()).incarnation?.id === id
    }
    if (clock.now() - since < REFERENCE_GRACE_MS) return true
    return fork.execute(barCommand(id))
  }
}

/** What must match a fork that exists, where what it inherited need not be said again. */
function again(
  { config, fork }: Incarnation,
  { contentType = config.contentType, expiry, isPublic, close }: CreateRequest,
  asked: Asked,
): Requested {
  const inherited = expiry.kind === 'never' && fork?.inheritsExpiry === true
  return {
    config: { contentType, expiry: inherited ? config.expiry : expiry, isPublic },
    close,
    fork: { origin: asked },
  }
}

/**
 * A fork takes over what its creator does not say (PROTOCOL §4.2); not that its source is public:
 * what is written to the fork may be meant for fewer.
 */
function inherit(
  source: StreamView,
  { contentType = source.contentType, expiry }: CreateRequest,
): { readonly contentType: string; readonly expiry: StreamView['expiry'] } {
  if (!sameContentType(contentType, source.contentType)) {
    throw new StreamConflictError('content type')
  }
  return { contentType, expiry: expiry.kind === 'never' ? source.expiry : expiry }
}

/** The fork point as asked, in one spelling, so that the same request finds the same fork. */
function spelling({ offset, subOffset }: ForkPoint): Pick<ForkOrigin, 'offset' | 'subOffset'> {
  if (offset === undefined || offset.kind === 'now') return { offset: undefined, subOffset }
  if (offset.kind === 'beginning') return { offset: '-1', subOffset }
  const { depth, seqNum } = offset.position
  return { offset: `${depth}_${seqNum}`, subOffset }
}

/** What a fork would inherit is in too many places to be named in each of its checkpoints. */
function tooScattered(excess: NonNullable<ReturnType<typeof oversize>>): RequestError {
  return excess === 'forks'
    ? new RequestError('too_many_forks', 'the source has been forked from too many others')
    : new RequestError('too_many_aborted_appends', 'the source has too many broken-off appends')
}

/** The forks that nobody has noticed to be gone may make room for others. */
function isFull(error: unknown): boolean {
  return error instanceof RequestError && error.code === 'too_many_forks'
}

/** A decision that writes nothing, as an answer or an error. */
function decide(decision: ReturnType<typeof compare>): CreateAnswer {
  if (decision.kind === 'refuse') throw decision.error
  return decision.answer
}
