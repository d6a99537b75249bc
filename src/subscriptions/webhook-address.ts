/**
 * Which addresses a webhook may lead to. Knows addresses only, never names or URLs.
 *
 * Whoever may create a subscription chooses where the gateway connects to, from inside our network:
 * what isn't plainly part of the public Internet is refused (PROTOCOL §12.8).
 */
import { lookup } from 'node:dns/promises'
import { BlockList, isIPv4, isIPv6 } from 'node:net'

/** Finds all addresses of a name, in the order to try them. Rejects if there are none. */
export type Lookup = (hostname: string) => Promise<readonly string[]>

/** The system's resolver, the hosts file included: what a connection would use. */
export const systemLookup: Lookup = async (hostname) => {
  const found = await lookup(hostname, { all: true })
  return found.map(({ address }) => address)
}

/** Special-purpose by the IANA registry, and one address that only looks public. */
const SPECIAL_IPV4 = blockList('ipv4', [
  '0.0.0.0/8', // this host
  '10.0.0.0/8', // private
  '100.64.0.0/10', // behind carriers' NAT; the metadata of some clouds
  '127.0.0.0/8', // loopback
  '168.63.129.16/32', // what Azure answers virtual machines at
  '169.254.0.0/16', // link-local; the metadata of most clouds
  '172.16.0.0/12', // private
  '192.0.0.0/24', // protocol assignments
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // relays of 6to4
  '192.168.0.0/16', // private
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved; broadcast
])

/** All that has been given out as public so far: loopback, local, multicast, NAT64 lie outside. */
const GLOBAL_IPV6 = blockList('ipv6', ['2000::/3'])

/** What lies in there and is not public, or has an IPv4 address in it that a relay would go to. */
const SPECIAL_IPV6 = blockList('ipv6', [
  '2001::/23', // protocol assignments: Teredo, benchmarks, ORCHID
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4
  '3fff::/20', // documentation
])

/** IPv4 in the clothes of IPv6: the kernel connects to the IPv4 address. */
const MAPPED_IPV4 = blockList('ipv6', ['::ffff:0:0/96'])

const LOOPBACK = blockList('ipv4', ['127.0.0.0/8'])
LOOPBACK.addAddress('::1', 'ipv6')

function blockList(family: 'ipv4' | 'ipv6', subnets: readonly string[]): BlockList {
  const list = new BlockList()
  for (const subnet of subnets) {
    const [network = '', bits = ''] = subnet.split('/')
    list.addSubnet(network, Number(bits), family)
  }
  return list
}

/** Whether an address is one of the public Internet's. What is not an address is not. */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return !SPECIAL_IPV4.check(address)
  // A zone (`fe80::1%eth0`) picks an interface, which has a meaning on this machine only.
  if (!isIPv6(address) || address.includes('%')) return false
  // An IPv4 list also knows the mapped form of its addresses.
  if (MAPPED_IPV4.check(address, 'ipv6')) return !SPECIAL_IPV4.check(address, 'ipv6')
  return GLOBAL_IPV6.check(address, 'ipv6') && !SPECIAL_IPV6.check(address, 'ipv6')
}

/** Whether an address is this machine's own, of either family. */
export function isLoopbackAddress(address: string): boolean {
  if (isIPv4(address)) return LOOPBACK.check(address)
  return isIPv6(address) && LOOPBACK.check(address, 'ipv6')
}
