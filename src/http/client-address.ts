/**
 * Whose request it is, by address: of the peer, or of whom trusted proxies name in
 * `X-Forwarded-For`. For counting, not for showing: an IPv6 address stands for its /64.
 */
import { isIPv4, isIPv6 } from 'node:net'
import proxyAddr from '@fastify/proxy-addr'

/** Trusted proxies: so many hops, or their addresses and networks. */
export type TrustProxy = number | readonly string[] | undefined

/** Whether a peer, or whoever a trusted one names, is a proxy to be believed; `hop` counts from 0. */
export type IsTrusted = (address: string, hop: number) => boolean

const { compile } = proxyAddr

/**
 * The rule, in the form that Fastify takes it for `X-Forwarded-Host` and `-Proto`; false when
 * nobody is trusted. Of a number alone Fastify makes nothing: who reaches the gateway past the
 * proxies is believed then, which is for whoever sets the number to rule out.
 */
export function trustIn(proxies: TrustProxy): IsTrusted | false {
  if (proxies === undefined) return false
  return typeof proxies === 'number' ? (_address, hop) => hop < proxies : compile([...proxies])
}

/**
 * The client of a request that came from `peer` with that `X-Forwarded-For`. Undefined when its
 * connection is gone already, and nobody knows.
 */
export type ClientAddressOf = (
  peer: string | undefined,
  forwardedFor: string | undefined,
) => string | undefined

/**
 * Makes what tells the client: beginning with the peer, each trusted one is believed whom it names,
 * and the first that is not trusted is the client, as with Fastify's `request.ip`. What an
 * untrusted one says about others is no more than its word.
 */
export function clientAddressReader(isTrusted: IsTrusted | false): ClientAddressOf {
  if (isTrusted === false) return (peer) => counted(peer)
  return (peer, forwardedFor) => {
    if (forwardedFor === undefined || peer === undefined) return counted(peer)
    return counted(clientOf([peer, ...namesIn(forwardedFor)], isTrusted))
  }
}

/** Names in `X-Forwarded-For`, the nearest first. Each proxy adds its peer at the end. */
function namesIn(forwardedFor: string): string[] {
  return forwardedFor
    .split(',')
    .map((name) => withoutPort(name.trim()))
    .reverse()
}

/** Some proxies write `192.0.2.1:80` and `[2001:db8::1]:80`. */
function withoutPort(name: string): string {
  const [, bracketed, plain] = /^(?:\[([^\]]+)\]|([\d.]+))(?::\d+)?$/.exec(name) ?? []
  return bracketed ?? plain ?? name
}

/** Where a name is no address, it is whoever said so: no text of its choice is kept for a client. */
function clientOf(chain: readonly [string, ...string[]], isTrusted: IsTrusted): string {
  let [client] = chain
  for (const [hop, address] of chain.entries()) {
    if (!isIPv4(address) && !isIPv6(address)) break
    client = address
    if (!isTrusted(address, hop)) break
  }
  return client
}

/**
 * What is counted as one client. In IPv6 that is a network of 64 bits: it is what a customer gets
 * at the least, and all of its addresses are at the customer's command.
 */
function counted(address: string | undefined): string | undefined {
  if (address === undefined || isIPv4(address) || !isIPv6(address)) return address
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  if (mapped !== undefined) return mapped
  // Its one short form; what is left of a zone names an interface here, and no client.
  const plain = new URL(`http://[${address.replace(/%.*$/, '')}]`).hostname.slice(1, -1)
  const [, high, low] = /^::ffff:([\da-f]+):([\da-f]+)$/.exec(plain) ?? []
  if (high !== undefined && low !== undefined) return [...bytesOf(high), ...bytesOf(low)].join('.')
  return `${groupsOf(plain).slice(0, 4).join(':')}::/64`
}

/** The eight groups of an address in its short form. */
function groupsOf(address: string): string[] {
  const [head = '', tail] = address.split('::')
  const [before, after] = [head, tail ?? ''].map((part) => part.split(':').filter(Boolean))
  const missing = 8 - (before?.length ?? 0) - (after?.length ?? 0)
  return [...(before ?? []), ...Array<string>(missing).fill('0'), ...(after ?? [])]
}

function bytesOf(group: string): [number, number] {
  const number = Number.parseInt(group, 16)
  return [number >> 8, number & 0xff]
}
