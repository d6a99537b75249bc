/** Bytes of a response in both forms that they may take on the wire. PURE. */

/**
 * One piece of a response whose length is not known, made once for all who get it: as it is, and
 * as a chunk of the chunked transfer coding (RFC 9112 §7.1). Both are views of the same bytes.
 */
export type Chunk = { readonly plain: Buffer; readonly framed: Buffer }

const CRLF = Buffer.from('\r\n', 'latin1')

/** What ends a response in the chunked transfer coding. */
export const LAST_CHUNK: Buffer = Buffer.from('0\r\n\r\n', 'latin1')

/** Frames parts that belong together; there must be at least a byte, an empty chunk is the last. */
export function toChunk(...parts: readonly Buffer[]): Chunk {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const size = Buffer.from(`${length.toString(16)}\r\n`, 'latin1')
  const framed = Buffer.concat([size, ...parts, CRLF])
  return { plain: framed.subarray(size.length, size.length + length), framed }
}
