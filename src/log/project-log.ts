/**
 * A log of logs: the first segment of a name is the project, whose log holds the rest of it. Names
 * of our own, under `__ds/`, are in a log that is no project's.
 *
 * Knows nothing of S2. A name without a project is that of no stream.
 */
import type { Clock } from '../clock.ts'
import { invariant, LogUnavailableError } from '../errors.ts'
import {
  LogStreamMissingError,
  type AppendAck,
  type AppendBatch,
  type AppendSession,
  type DurableLog,
  type LogRecord,
  type ReadLimits,
  type ReadSession,
  type ReadSessionHandlers,
  type ReadStart,
  type SeqNum,
} from './log.ts'
import { OpenLogs, type LogUse } from './open-logs.ts'
import { failedAppendSession, ProjectAppendSession } from './project-append-session.ts'
import { projectsInOrder } from './project-listing.ts'

export type ProjectLogOptions = {
  readonly description: string
  /** Holds the names under `__ds/`. Closed with this. */
  readonly own: DurableLog
  /** Returns at once; in the log of a project that is not there, there are no streams. */
  readonly openProject: (project: string) => DurableLog
  readonly isProject: (text: string) => boolean
  /** One page of projects, as {@link DurableLog.listStreams} has them of streams. */
  readonly listProjects: (
    prefix: string,
    startAfter: string,
    signal?: AbortSignal,
  ) => Promise<readonly string[]>
  readonly clock: Clock
  /** Projects that are open at the same time. */
  readonly maxOpen: number
  /** After this long without use the log of a project is closed. */
  readonly idleMs?: number | undefined
}

/** The first segment of names that are our own. */
const OWN = '__ds'

/** Longer than connections are kept that nobody uses. */
const IDLE_MS = 60_000

/** A stream in the log that has it. */
type Place = LogUse & { readonly name: string }

export class ProjectLog implements DurableLog {
  readonly description: string
  readonly isShared: boolean
  readonly #options: ProjectLogOptions
  readonly #open: OpenLogs
  #closing: Promise<void> | undefined

  constructor(options: ProjectLogOptions) {
    const { description, own, openProject, clock, maxOpen, idleMs = IDLE_MS } = options
    this.description = description
    this.isShared = own.isShared
    this.#options = options
    this.#open = new OpenLogs({ open: openProject, clock, maxOpen, idleMs })
  }

  async createStream(stream: string, signal?: AbortSignal): Promise<void> {
    const place = this.#find(stream)
    invariant(place !== undefined, `no project has the stream ${JSON.stringify(stream)}`)
    await released(place, place.log.createStream(place.name, signal))
  }

  append(stream: string, batch: AppendBatch, signal?: AbortSignal): Promise<AppendAck> {
    return this.#at(stream, ({ log, name }) => log.append(name, batch, signal))
  }

  checkTail(stream: string, signal?: AbortSignal): Promise<SeqNum> {
    return this.#at(stream, ({ log, name }) => log.checkTail(name, signal))
  }

  read(
    stream: string,
    start: ReadStart,
    limits: ReadLimits,
    signal?: AbortSignal,
  ): Promise<readonly LogRecord[]> {
    return this.#at(stream, ({ log, name }) => log.read(name, start, limits, signal))
  }

  openReadSession(stream: string, from: SeqNum, handlers: ReadSessionHandlers): ReadSession {
    const place = this.#tryPlace(stream)
    if (place instanceof Error) return failedReadSession(handlers, place)
    const session = place.log.openReadSession(place.name, from, {
      onRecords: (records, upToTail) => handlers.onRecords(records, upToTail),
      onCaughtUp: (tail) => handlers.onCaughtUp(tail),
      onEnd: (cause) => {
        place.release()
        handlers.onEnd(cause)
      },
    })
    return {
      cancel: () => {
        session.cancel()
        place.release()
      },
    }
  }

  openAppendSession(stream: string): AppendSession {
    const place = this.#tryPlace(stream)
    if (place instanceof Error) return failedAppendSession(place)
    const session = place.log.openAppendSession(place.name)
    return new ProjectAppendSession(session, () => place.release())
  }

  async listStreams(
    prefix: string,
    startAfter: string,
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    this.#assertOpen()
    for await (const project of this.#projects(prefix, startAfter, signal)) {
      const names = await this.#listProject(project, { prefix, startAfter }, signal)
      if (names.length > 0) return names
    }
    return []
  }

  async ping(signal?: AbortSignal): Promise<void> {
    await this.#options.own.ping(signal)
  }

  close(): Promise<void> {
    this.#closing ??= Promise.all([this.#open.close(), this.#options.own.close()]).then(
      () => undefined,
    )
    return this.#closing
  }

  /** The projects whose names may begin with the prefix and come after the start, in their order. */
  async *#projects(
    prefix: string,
    startAfter: string,
    signal?: AbortSignal,
  ): AsyncGenerator<string, void, undefined> {
    const { isProject, listProjects } = this.#options
    const [first = '', ...more] = prefix.split('/')
    if (more.length > 0) {
      if (first === OWN || isProject(first)) yield first
      return
    }
    const [begin = '', ...rest] = startAfter.split('/')
    // `a` itself is before `a-b/x`, and only `a/` behind it.
    const isInside = rest.length > 0 && isProject(begin) && begin.startsWith(first)
    const from = isInside ? begin : undefined
    const projects = projectsInOrder((after) => listProjects(first, after, signal), from)
    let isOwnDue = OWN.startsWith(first)
    for await (const project of projects) {
      if (!isProject(project) || !project.startsWith(first)) continue
      if (isOwnDue && project > OWN) {
        isOwnDue = false
        yield OWN
      }
      yield project
    }
    if (isOwnDue) yield OWN
  }

  async #listProject(
    project: string,
    { prefix, startAfter }: { readonly prefix: string; readonly startAfter: string },
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    const head = `${project}/`
    const isBehind = Buffer.compare(Buffer.from(startAfter), Buffer.from(head)) > 0
    if (isBehind && !startAfter.startsWith(head)) return []
    const place = this.#place(head)
    // Our own names are whole in their log, and others that it may have are none of ours.
    const cut = head.length - place.name.length
    const inside = prefix.length > head.length ? prefix.slice(cut) : place.name
    const after = isBehind ? startAfter.slice(cut) : ''
    const names = await released(place, place.log.listStreams(inside, after, signal))
    return cut === 0 ? names : names.map((name) => head + name)
  }

  async #at<T>(stream: string, call: (place: Place) => Promise<T>): Promise<T> {
    const place = this.#place(stream)
    return released(place, call(place))
  }

  /**
   * @throws LogStreamMissingError no project has such a name
   * @throws LogUnavailableError
   */
  #place(stream: string): Place {
    const place = this.#find(stream)
    if (place === undefined) throw new LogStreamMissingError(stream)
    return place
  }

  /** As `#place`, for those who are told later. */
  #tryPlace(stream: string): Place | Error {
    try {
      return this.#place(stream)
    } catch (error) {
      if (error instanceof Error) return error
      throw error
    }
  }

  #find(stream: string): Place | undefined {
    this.#assertOpen()
    const slash = stream.indexOf('/')
    const project = stream.slice(0, Math.max(slash, 0))
    if (project === OWN) return { log: this.#options.own, name: stream, release: () => undefined }
    if (!this.#options.isProject(project)) return undefined
    return { ...this.#open.use(project), name: stream.slice(slash + 1) }
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new LogUnavailableError(new Error('the log is closed'))
  }
}

/** Releases a place when the call is over. */
async function released<T>(place: Place, call: Promise<T>): Promise<T> {
  try {
    return await call
  } finally {
    place.release()
  }
}

/** A session that could not be opened: nobody is called before it is in its owner's hands. */
function failedReadSession(handlers: ReadSessionHandlers, cause: unknown): ReadSession {
  let isOver = false
  queueMicrotask(() => {
    if (!isOver) handlers.onEnd(cause)
  })
  return { cancel: () => (isOver = true) }
}
