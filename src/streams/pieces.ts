/**
 * Data larger than a record, in pieces and back. PURE.
 *
 * Bytes are cut where a reader of text may stop; each piece is data of its own. A JSON message is
 * one only as a whole: its pieces are numbered, and readers get it when they have all of them.
 */
import type { SeqNum } from '../log/log.ts'
import type { Piece } from './codec.ts'

/** Eight of them fill a batch but for their headers and a small checkpoint. */
const PIECE_BYTES = 127 * 1024
const CR = 0x0d
const LF = 0x0a

/** Cuts bytes into pieces, and neither a character of UTF-8 nor a CR LF in two. */
export function cutBytes(body: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let start = 0
  while (body.length - start > PIECE_BYTES) {
    const end = cutBefore(body, start + PIECE_BYTES)
    pieces.push(body.subarray(start, end))
    start = end
  }
  pieces.push(body.subarray(start))
  return pieces
}

/** Cuts a message into numbered pieces; the number is left out when it is whole. */
export function cutMessage(
  message: Uint8Array,
): { readonly body: Uint8Array; readonly piece?: Piece }[] {
  const count = Math.ceil(message.length / PIECE_BYTES)
  if (count <= 1) return [{ body: message }]
  return Array.from({ length: count }, (_, index) => ({
    body: message.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES),
    piece: { index: index + 1, count },
  }))
}

/** The last place up to `at` where text may be cut. What is no UTF-8 is cut anywhere. */
function cutBefore(body: Uint8Array, at: number): number {
  if (body[at - 1] === CR && body[at] === LF) return at - 1
  let cut = at
  while (at - cut < 3 && isContinuation(body[cut])) cut -= 1
  return isContinuation(body[cut]) ? at : cut
}

function isContinuation(byte = 0): boolean {
  return (byte & 0xc0) === 0x80
}

/** Puts messages together from their pieces, which come in the order of the log. */
export class PieceJoiner {
  #pieces: Uint8Array[] = []
  #start: SeqNum | undefined

  /** Seq num of the first piece of the message that is not whole yet. */
  get start(): SeqNum | undefined {
    return this.#start
  }

  /** Takes the next piece. The message, when it is whole. */
  take(seqNum: SeqNum, body: Uint8Array, { index, count }: Piece): Uint8Array | undefined {
    if (index === 1) {
      this.#pieces = []
      this.#start = seqNum
    }
    // Who begins to read inside a message gets none of it: no offset of ours leads there.
    if (this.#start === undefined || index !== this.#pieces.length + 1) {
      this.drop()
      return undefined
    }
    this.#pieces.push(body)
    if (index < count) return undefined
    const message = Buffer.concat(this.#pieces)
    this.drop()
    return message
  }

  /** Something else came where the next piece belongs: only an S2 client writes such a thing. */
  drop(): void {
    this.#pieces = []
    this.#start = undefined
  }
}
