/**
 * Answers as they come on a connection. No client library: what they forgive is what is looked for
 * here.
 */
export type Answer = {
  readonly status: number
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  /** As latin1. */
  readonly body: string
}

/** These bytes are no answer. */
export class MalformedAnswerError extends Error {}

const STATUS_LINE = /^HTTP\/1\.1 ([1-5]\d\d) [\t -~]*$/
const FIELD = /^([!#$%&'*+.^_`|~\w-]+): ?([\t -~]*)$/
const CHUNK_SIZE = /^[0-9a-f]{1,8}$/i
/** Which say where a body ends. */
const END_FIELDS = ['content-length', 'transfer-encoding']
/** Far longer than any head of ours. */
const MAX_HEAD_BYTES = 64 * 1024

/** Whether the answer that comes next is to a HEAD. */
type IsHead = () => boolean

type Head = Omit<Answer, 'body'>

export class AnswerReader {
  #rest: Buffer = Buffer.alloc(0)
  #head: Head | undefined
  /** Of an answer in chunks, what has come. */
  #chunks: string[] = []

  /** Whether something of an answer is here, and not all of it. */
  get isAmidst(): boolean {
    return this.#head !== undefined || this.#rest.length > 0
  }

  /** What has not become an answer yet, for people. */
  get rest(): string {
    return this.#rest.toString('latin1')
  }

  /**
   * Takes bytes and yields the answers that are whole, without informational ones.
   *
   * @throws MalformedAnswerError
   */
  *take(bytes: Buffer, isHead: IsHead): Generator<Answer> {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    for (;;) {
      this.#head ??= this.#readHead()
      if (this.#head === undefined) return
      const body = this.#readBody(this.#head, isHead())
      if (body === undefined) return
      const answer = { ...this.#head, body }
      this.#head = undefined
      if (answer.status >= 200) yield answer
    }
  }

  /** The answer that the end of the connection has made whole, if there is one. */
  end(): Answer | undefined {
    const head = this.#head
    const hasEnd = END_FIELDS.some((name) => head?.headers.has(name))
    if (head === undefined || hasEnd) return undefined
    this.#head = undefined
    return { ...head, body: this.#take(this.#rest.length) }
  }

  #readHead(): Head | undefined {
    const end = this.#rest.indexOf('\r\n\r\n')
    if (end === -1) {
      if (this.#rest.length > MAX_HEAD_BYTES) throw malformed('a head without an end', this.rest)
      if (!beginsAnswer(this.#rest)) throw malformed('a head', this.rest)
      return undefined
    }
    const [line = '', ...fields] = this.#rest.toString('latin1', 0, end).split('\r\n')
    const status = STATUS_LINE.exec(line)?.[1]
    if (status === undefined) throw malformed('a status line', line)
    this.#rest = this.#rest.subarray(end + 4)
    return { status: Number(status), headers: readFields(fields) }
  }

  #readBody({ status, headers }: Head, isHead: boolean): string | undefined {
    const [length, coding] = [headers.get('content-length'), headers.get('transfer-encoding')]
    if (length !== undefined && coding !== undefined) throw malformed('one length', 'two')
    if (status < 200 || status === 204 || status === 304) return ''
    if (isHead) return this.#afterHead(headers)
    if (coding !== undefined) {
      if (coding !== 'chunked') throw malformed('a transfer coding', coding)
      return this.#readChunks()
    }
    // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
    if (length === undefined && headers.get('connection') === 'close') return undefined
    if (length === undefined || !/^\d+$/.test(length)) throw malformed('a length', String(length))
    if (this.#rest.length < Number(length)) return undefined
    return this.#take(Number(length))
  }

  /** Of what could not be read nobody knows that it was HEAD: such a refusal has a body. */
  #afterHead(headers: Head['headers']): string {
    const length = Number(headers.get('content-length'))
    const isRefusal = headers.get('connection') === 'close' && this.#rest.length === length
    return isRefusal ? this.#take(length) : ''
  }

  #take(length: number): string {
    const text = this.#rest.toString('latin1', 0, length)
    this.#rest = this.#rest.subarray(length)
    return text
  }

  #readChunks(): string | undefined {
    for (;;) {
      const lineEnd = this.#rest.indexOf('\r\n')
      if (lineEnd === -1) return undefined
      const line = this.#rest.toString('latin1', 0, lineEnd)
      if (!CHUNK_SIZE.test(line)) throw malformed('the size of a chunk', line)
      const size = Number.parseInt(line, 16)
      const end = lineEnd + 2 + size
      if (this.#rest.length < end + 2) return undefined
      if (this.#rest.toString('latin1', end, end + 2) !== '\r\n') throw malformed('a chunk', line)
      this.#chunks.push(this.#rest.toString('latin1', lineEnd + 2, end))
      this.#rest = this.#rest.subarray(end + 2)
      if (size > 0) continue
      const body = this.#chunks.join('')
      this.#chunks = []
      return body
    }
  }
}

function beginsAnswer(bytes: Buffer): boolean {
  const begin = 'HTTP/1.1 '
  const sent = bytes.toString('latin1', 0, begin.length)
  return begin.startsWith(sent)
}

function readFields(lines: readonly string[]): ReadonlyMap<string, string> {
  const headers = new Map<string, string>()
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? []
    if (name === undefined || value === undefined) throw malformed('a header field', line)
    const key = name.toLowerCase()
    if (headers.has(key) && key !== 'set-cookie') throw malformed('a header field twice', line)
    headers.set(key, value)
  }
  return headers
}

function malformed(expected: string, found: string): MalformedAnswerError {
  const shown = JSON.stringify(found.slice(0, 300))
  return new MalformedAnswerError(`expected ${expected}, found ${shown}`)
}
