/** The log of projects over logs in memory: what S2 does with basins, within the test. */
import { systemClock, type Clock } from '../../src/clock.ts'
import { MemoryStore } from '../../src/log/embedded-memory-store.ts'
import { EmbeddedLog } from '../../src/log/embedded-log.ts'
import type { StreamWrite } from '../../src/log/embedded-store.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { ProjectLog } from '../../src/log/project-log.ts'
import { ProjectRule } from '../../src/protocol/project.ts'

/** What is in a project stays when its log is closed. */
class KeptStore extends MemoryStore {
  isUsed = false

  override write(writes: readonly StreamWrite[]): Promise<void> {
    this.isUsed = true
    return super.write(writes)
  }

  override close(): Promise<void> {
    return Promise.resolve()
  }
}

class NotedLog extends EmbeddedLog {
  readonly #onClose: () => void

  constructor(store: KeptStore, description: string, onClose: () => void) {
    super(store, description)
    this.#onClose = onClose
  }

  override close(): Promise<void> {
    this.#onClose()
    return super.close()
  }
}

export type MemoryProjects = {
  readonly log: ProjectLog
  /** Where our own names are. */
  readonly own: DurableLog
  /** Every log of a project that was opened, as often as it was. */
  readonly opened: string[]
  /** Those that are open, in no order. */
  readonly open: Set<string>
  /** What was asked of the listing of projects. */
  readonly listed: { readonly prefix: string; readonly startAfter: string }[]
}

export type MemoryProjectsOptions = {
  readonly clock?: Clock
  readonly maxOpen?: number
  readonly idleMs?: number
  /** Projects in a page. */
  readonly pageSize?: number
}

export function openMemoryProjects(options: MemoryProjectsOptions = {}): MemoryProjects {
  const { clock = systemClock, maxOpen = 100, idleMs, pageSize = 1000 } = options
  const rule = new ProjectRule()
  const stores = new Map<string, KeptStore>()
  const opened: string[] = []
  const open = new Set<string>()
  const listed: { prefix: string; startAfter: string }[] = []
  const own = new EmbeddedLog(new MemoryStore(), 'own names')
  const log = new ProjectLog({
    description: 'projects in memory',
    own,
    openProject: (project) => {
      const store = stores.get(project) ?? new KeptStore()
      stores.set(project, store)
      opened.push(project)
      open.add(project)
      return new NotedLog(store, project, () => open.delete(project))
    },
    isProject: (text) => rule.allows(text),
    listProjects: (prefix, startAfter) => {
      listed.push({ prefix, startAfter })
      const all = [...stores].filter(([, { isUsed }]) => isUsed).map(([project]) => project)
      const found = all.filter((text) => text.startsWith(prefix) && text > startAfter)
      return Promise.resolve(found.sort().slice(0, pageSize))
    },
    clock,
    maxOpen,
    idleMs,
  })
  return { log, own, opened, open, listed }
}
