/**
 * Which names streams may have: any, or, where each project has a basin, those that begin with a
 * project and go on behind it. PURE.
 */
import { RequestError } from '../errors.ts'
import { parseGlob } from './glob.ts'
import type { Glob } from './glob.ts'
import { checkStreamName, parseStreamPath, RESERVED } from './path.ts'
import type { ProjectRule } from './project.ts'

export class StreamNames {
  readonly #projects: ProjectRule | undefined

  /** Without a rule for projects any name will do. */
  constructor(projects?: ProjectRule) {
    this.#projects = projects
  }

  /**
   * As {@link parseStreamPath}.
   *
   * @throws RequestError `invalid_path`, `reserved_path`
   */
  parsePath(raw: string): string {
    return this.#check(parseStreamPath(raw))
  }

  /**
   * As {@link checkStreamName}.
   *
   * @throws RequestError `invalid_path`, `reserved_path`
   */
  check(name: string): string {
    return this.#check(checkStreamName(name))
  }

  /**
   * As {@link parseGlob}. A pattern may span projects, but one that no name could match is refused.
   *
   * @throws RequestError `invalid_path`
   */
  parsePattern(text: string): Glob {
    const glob = parseGlob(text)
    if (this.#projects === undefined || glob.pattern === '**') return glob
    const [first = '', ...more] = glob.pattern.split('/')
    if (more.length === 0) throw withoutProject()
    if (first === '*' || first === '**') return glob
    if (!this.#projects.allows(first)) throw noProject(this.#projects)
    // `a/**` finds `a`, too, which is no name here: nobody has to look beyond the project.
    return glob.prefix === first ? { ...glob, prefix: `${first}/` } : glob
  }

  /** Whether a name in the log is one of our own, or in a place of its project that is. */
  isReserved(name: string): boolean {
    const [first, second] = name.split('/', 2)
    return first === RESERVED || (this.#projects !== undefined && second === RESERVED)
  }

  #check(name: string): string {
    if (this.#projects === undefined) return name
    const [first = '', second] = name.split('/', 2)
    if (second === undefined) throw withoutProject()
    if (!this.#projects.allows(first)) throw noProject(this.#projects)
    // A project's basin may have served for all of a gateway before: then our own names are there.
    if (second === RESERVED) {
      throw new RequestError('reserved_path', `names under ${RESERVED}/ are reserved`)
    }
    return name
  }
}

function withoutProject(): RequestError {
  return new RequestError('invalid_path', 'a stream name is a project, / and a name within it')
}

function noProject({ description }: ProjectRule): RequestError {
  return new RequestError('invalid_path', `the first segment is a project: ${description}`)
}
