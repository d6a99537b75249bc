/** What S2 bills, and what it asks for each. PURE. */

/**
 * Everything that costs something with S2 and that a gateway sees: calls, minutes that sessions are
 * open, and GiB of records. What is stored it does not see.
 */
export const PRICE_KINDS = [
  'append',
  'append_session_minute',
  'read',
  'read_session_minute',
  'check_tail',
  'create_stream',
  'list_streams',
  'written_gib',
  'read_gib',
] as const

export type PriceKind = (typeof PRICE_KINDS)[number]

/** In USD for one. */
export type Prices = Readonly<Record<PriceKind, number>>

/**
 * S2's list, https://s2.dev/pricing, as it was quoted in public in 2026. It names no price for
 * listing streams. The prices of bytes are for the `standard` storage class and for reading over
 * the Internet: within a region they are lower.
 */
export const S2_LIST: Prices = {
  append: 1e-7,
  append_session_minute: 1e-7,
  read: 1e-6,
  read_session_minute: 1e-6,
  check_tail: 1e-7,
  create_stream: 1e-5,
  list_streams: 0,
  written_gib: 0.05,
  read_gib: 0.1,
}

/** An S2 of one's own asks for nothing. */
export const FREE: Prices = {
  append: 0,
  append_session_minute: 0,
  read: 0,
  read_session_minute: 0,
  check_tail: 0,
  create_stream: 0,
  list_streams: 0,
  written_gib: 0,
  read_gib: 0,
}
