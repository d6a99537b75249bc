/** Keys for one purpose each, out of the secrets that gateways share. */
import { hkdfSync } from 'node:crypto'

/** What a key is for. Another word makes another key, and voids all that was made with this one. */
export type Purpose =
  'durable-streams ticket v1' | 'durable-streams ticket key id v1' | 'durable-streams reader key v1'

/**
 * Derives a key by HKDF-SHA256 (RFC 5869): what is made with it tells nothing of the secret, nor
 * of the keys for other purposes.
 */
export function deriveKey(secret: string, purpose: Purpose, bytes = 32): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', purpose, bytes))
}
