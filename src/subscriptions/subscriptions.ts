/** The parts of subscriptions, put together. No logic of its own. */
import { sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import type { DurableLog } from '../log/log.ts'
import type { StreamNames } from '../protocol/names.ts'
import { AppendWatch } from './append-watch.ts'
import { Delivery } from './delivery.ts'
import type { Sender } from './delivery.ts'
import { BEFORE_FIRST } from './events.ts'
import { HostSlots } from './host-slots.ts'
import { KeyRing } from './key-ring.ts'
import { SubscriptionLogs } from './logs.ts'
import { Matcher } from './matcher.ts'
import { Membership } from './membership.ts'
import { Runner } from './runner.ts'
import { SubscriptionService } from './service.ts'
import type { SubscriptionObserver } from './subscription-observer.ts'
import type { StreamTail, Streams } from './streams.ts'
import { Waker } from './waker.ts'
import { WorkService } from './work-service.ts'

export type SubscriptionsOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  readonly names: StreamNames
  /** Unique in the world, and new for each process. */
  readonly gatewayId: string
  readonly streams: Streams
  readonly commandTimeoutMs: number
  /** What a gateway that died had in hand is taken over after this long. In ms. */
  readonly takeoverMs: number
  readonly maxStreams: number
  readonly sender: Sender
  readonly webhook: {
    readonly allowLocalhost: boolean
    readonly timeoutMs: number
    readonly maxConcurrentPerHost: number
  }
  readonly onBackgroundError: (task: string, error: unknown) => void
  readonly observer?: SubscriptionObserver | undefined
}

/** Longer than an append takes. */
const LEAVE_MS = 1000
/** How often keys are looked after. */
const KEYS_EVERY_MS = 60 * 60 * 1000
/** Soon after the start, as a gateway may not live for longer. */
const KEYS_FIRST_MS = 60 * 1000

export class Subscriptions {
  readonly service: SubscriptionService
  readonly work: WorkService
  readonly watch: AppendWatch
  readonly #options: SubscriptionsOptions
  readonly #keys: KeyRing
  readonly #membership: Membership
  readonly #waker: Waker
  readonly #runner: Runner
  #cancelKeys = (): void => undefined

  constructor(options: SubscriptionsOptions) {
    this.#options = options
    const { clock, gatewayId, takeoverMs, maxStreams, webhook, streams } = options
    const { onBackgroundError, observer } = options
    const matcher = new Matcher()
    // Its creator waits for gateways that are gone, and then it looks at streams.
    const patienceMs = takeoverMs * 3
    const logs = new SubscriptionLogs(options)
    this.#keys = new KeyRing(options)
    const delivery = createDelivery(options, this.#keys)
    const membership = new Membership({
      ...options,
      onInherited: (marks) => this.#inherit(marks),
    })
    const waker = new Waker({
      clock,
      gatewayId,
      logs,
      membership,
      matcher,
      tailOf: async (stream) => noteOf(await streams.tailOf(stream)),
      maxStreams,
      patienceMs,
      onIssued: (subscription) => this.#runner.kick(subscription),
      onFound: (subscription) => this.#runner.ensure(subscription),
      onBackgroundError,
    })
    this.#membership = membership
    this.#waker = waker
    const parts = {
      clock,
      gatewayId,
      logs,
      membership,
      matcher,
      waker,
      delivery,
      onBackgroundError,
    }
    const slots = new HostSlots(webhook.maxConcurrentPerHost)
    this.#runner = new Runner({ ...parts, slots })
    this.watch = new AppendWatch({ ...parts, quietMs: takeoverMs / 2 })
    const kick = (subscription: string): void => this.#runner.kick(subscription)
    const keys = this.#keys
    this.work = new WorkService({ ...parts, keys, kick, observer })
    this.service = new SubscriptionService({
      ...parts,
      names: options.names,
      keys,
      kick,
      offsetOf: async (stream) => (await streams.tailOf(stream))?.offset,
      listStreams: (prefix, startAfter) => options.log.listStreams(prefix, startAfter),
      allowLocalWebhooks: webhook.allowLocalhost,
      patienceMs,
      maxStreams,
    })
  }

  /** Takes part among the gateways, in the background, until {@link stop}. */
  start(): void {
    this.#membership.start()
    this.#maintainKeys(KEYS_FIRST_MS)
  }

  /**
   * Leaves; what is under way is for other gateways, or the next one, to go on with. When the log
   * can't be told in time, they find out by themselves.
   */
  async stop(): Promise<void> {
    this.#cancelKeys()
    this.watch.stop()
    this.#waker.stop()
    const stopped = this.#runner.stop()
    await this.#options.sender.close()
    const leave = async (): Promise<void> => {
      await stopped
      await this.#membership.stop()
    }
    await Promise.race([leave(), sleep(this.#options.clock, LEAVE_MS)])
  }

  #inherit(marks: readonly string[]): void {
    const named = (prefix: string): readonly string[] =>
      marks.filter((mark) => mark.startsWith(prefix)).map((mark) => mark.slice(prefix.length))
    this.watch.inherit(named('stream:'))
    for (const subscription of named('wake:')) this.#runner.kick(subscription)
  }

  #maintainKeys(afterMs: number): void {
    const { clock, onBackgroundError } = this.#options
    this.#cancelKeys = clock.after(afterMs, () => {
      this.#keys.maintain().catch((error: unknown) => onBackgroundError('keys', error))
      this.#maintainKeys(KEYS_EVERY_MS)
    })
  }
}

function createDelivery(
  { clock, webhook, streams, sender, observer }: SubscriptionsOptions,
  keys: KeyRing,
): Delivery {
  return new Delivery({
    clock,
    keys,
    sender,
    webhookTimeoutMs: webhook.timeoutMs,
    announce: (stream, event) => streams.announce(stream, event),
    observer,
  })
}

/** A stream that holds nothing is no work, whatever the offset of its beginning. */
function noteOf(tail: StreamTail | undefined): string | undefined {
  return tail?.isEmpty === true ? BEFORE_FIRST : tail?.offset
}
