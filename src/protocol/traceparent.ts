/**
 * The header `traceparent`: which trace a request is a part of, and which step of it has sent it.
 * PURE. By W3C Trace Context, Level 2, https://www.w3.org/TR/trace-context-2/.
 */

/** A step of a trace, as whoever takes the next one is told of it. */
export type TraceContext = {
  /** 32 hexadecimal digits, in lower case. */
  readonly traceId: string
  /** 16 of them. */
  readonly spanId: string
  /** One byte: whether it is recorded, and whether the trace id is random. */
  readonly flags: number
}

/** Later versions may have more behind it, after a hyphen. */
const FORM = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/
const NO_VERSION = 'ff'
const OUR_VERSION = '00'
const ZEROS = /^0+$/

const SAMPLED = 0x01
const RANDOM = 0x02

/**
 * Reads a `traceparent`; undefined when it is not valid, and then it counts as absent (§3.2.2).
 *
 * @param header as Node has it: several of them are joined, and so none
 */
export function parseTraceparent(header: string | undefined): TraceContext | undefined {
  // Most records have none.
  if (header === undefined) return undefined
  const [, version, traceId = '', spanId = '', flags = '', rest] = FORM.exec(header) ?? []
  if (version === undefined || version === NO_VERSION) return undefined
  if (version === OUR_VERSION && rest !== undefined) return undefined
  if (ZEROS.test(traceId) || ZEROS.test(spanId)) return undefined
  // Of others nobody knows what they mean (§3.2.2.5).
  return { traceId, spanId, flags: Number.parseInt(flags, 16) & (SAMPLED | RANDOM) }
}

/** Writes a `traceparent`, in the version that is ours. */
export function formatTraceparent({ traceId, spanId, flags }: TraceContext): string {
  const text = `${OUR_VERSION}-${traceId}-${spanId}-${flags.toString(16).padStart(2, '0')}`
  // As it is put together it would be eight objects, and keep all of what its parts were read from.
  return Buffer.from(text, 'latin1').toString('latin1')
}

/** Whether that step was recorded, as far as the one who took it knows. */
export function isSampled({ flags }: TraceContext): boolean {
  return (flags & SAMPLED) !== 0
}

/** The `traceparent` among the headers of a request, in our own spelling. */
export function traceparentOf(
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
): string | undefined {
  const { traceparent } = headers
  const context = typeof traceparent === 'string' ? parseTraceparent(traceparent) : undefined
  return context && formatTraceparent(context)
}
