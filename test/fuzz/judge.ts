/** What is wrong with an answer. PURE. */
import type { Answer } from './answers.ts'
import { PROBE_BODY } from './requests.ts'
import type { Question } from './requests.ts'
import { PRIVATE_MARK, PUBLIC_MARK, PUBLIC_STREAM } from './streams.ts'

/** All that a gateway without limits may say, with its log at hand. No 500, no 429 and no 503. */
const STATUSES: ReadonlySet<number> = new Set([
  200, 201, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 413, 414, 415, 417, 421, 422,
  426, 431, 501,
])

const PROBLEM = 'application/problem+json'
const PROBLEM_CODE = /^[a-z][a-z_]+$/

/** The first thing that is wrong; undefined when nothing is. */
export function complaintAbout(answer: Answer, question: Question): string | undefined {
  const { status, headers, body } = answer
  if (!STATUSES.has(status)) return `a status of ${status}`
  if (question.isProbe) return isAlive(answer) ? undefined : 'an answer of another request'
  if (headers.has('injected')) return 'a header field of the client’s own making'
  if (headers.get('x-content-type-options') !== 'nosniff') return 'no header fields of ours'
  if (isSuccess(status) && !question.isSafe && !isTicket(answer)) return 'a write that succeeded'
  if (question.isStranger) return leak(answer, question)
  if (status >= 400 && !question.isHead && !isProblem(status, headers, body)) return 'no problem'
  return undefined
}

function isSuccess(status: number): boolean {
  return status < 300
}

function isAlive({ status, body }: Answer): boolean {
  return status === 200 && body === PROBE_BODY
}

/** Who may read may have a ticket to read with; nothing is written for it. */
function isTicket({ status, body }: Answer): boolean {
  return status === 201 && body.startsWith('{"ticket":')
}

/** What is known to be for everybody. */
function isPublic({ status, headers, body }: Answer, { isHead, text }: Question): boolean {
  // OPTIONS, of any URL.
  if (status === 204 && headers.has('access-control-allow-methods')) return true
  if (isHead) return headers.get('stream-public') === 'true' || !headers.has('stream-next-offset')
  const isOfNoStream = body.startsWith('{"status":') || body.startsWith('{"keys":')
  if (isOfNoStream || body.includes(PUBLIC_MARK)) return true
  // Where there is no data: a reader at the tail.
  return !body.includes('event: data') && isOfPublic(text)
}

/** Whether the request names the stream that is public, however it is escaped. */
function isOfPublic(text: string): boolean {
  const plain = text.replace(/%([0-9a-f]{2})/gi, (_all, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return plain.includes(`/v1/stream/${PUBLIC_STREAM}`)
}

function leak(answer: Answer, question: Question): string | undefined {
  if (answer.body.includes(PRIVATE_MARK)) return 'data that is private'
  const { status, body } = answer
  const tells = isSuccess(status) ? !isPublic(answer, question) : tellsOfStream(status, body)
  return tells && !isOfPublic(question.text) ? 'more than a stranger may know' : undefined
}

/** Whether a refusal says that there is a stream, or that there is none. */
function tellsOfStream(status: number, body: string): boolean {
  return [304, 409, 410].includes(status) || body.includes('"code":"stream_not_found"')
}

/** Whether it is an error as all of ours are, of the stream protocol or of subscriptions. */
function isProblem(status: number, headers: Answer['headers'], body: string): boolean {
  const type = headers.get('content-type')
  if (type === 'application/json') return body.startsWith('{"error":{"code":"')
  if (type !== PROBLEM) return false
  try {
    const problem = JSON.parse(body) as { status?: unknown; code?: unknown }
    return problem.status === status && PROBLEM_CODE.test(String(problem.code))
  } catch {
    return false // no JSON at all
  }
}
