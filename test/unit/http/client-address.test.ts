import Fastify from 'fastify'
import { describe, expect, test } from 'vitest'
import { clientAddressReader, trustIn } from '../../../src/http/client-address.ts'
import type { TrustProxy } from '../../../src/http/client-address.ts'

const PROXIES = ['10.0.0.0/8', '2001:db8:1::/48']

describe('the address of a client', () => {
  test.each<[string, TrustProxy, string | undefined, string | undefined, string | undefined]>([
    ['is the peer', undefined, '192.0.2.1', undefined, '192.0.2.1'],
    ['is the peer, whatever it says', undefined, '192.0.2.1', '1.1.1.1', '192.0.2.1'],
    ['is an untrusted peer, whatever it says', PROXIES, '192.0.2.1', '1.1.1.1', '192.0.2.1'],
    ['is whom a trusted peer names', PROXIES, '10.0.0.1', '192.0.2.1', '192.0.2.1'],
    ['is the last that is named', PROXIES, '10.0.0.1', '6.6.6.6, 192.0.2.1', '192.0.2.1'],
    ['is before all proxies', PROXIES, '10.0.0.1', '6.6.6.6,192.0.2.1 , 10.0.0.2', '192.0.2.1'],
    ['is before proxies in IPv6', PROXIES, '2001:db8:1::9', '192.0.2.1', '192.0.2.1'],
    ['is the furthest proxy if there is no other', PROXIES, '10.0.0.1', '10.9.9.9', '10.9.9.9'],
    ['is the peer if nobody is named', PROXIES, '10.0.0.1', '', '10.0.0.1'],
    ['is who says nonsense', PROXIES, '10.0.0.1', '1.1.1.1, unknown', '10.0.0.1'],
    ['is who says nothing', PROXIES, '10.0.0.1', '1.1.1.1,,10.0.0.2', '10.0.0.2'],
    ['is without its port', PROXIES, '10.0.0.1', '192.0.2.1:4711', '192.0.2.1'],
    ['is without its port in IPv6', PROXIES, '10.0.0.1', '[2001:db8::1]:80', '2001:db8:0:0::/64'],
    ['is at one hop', 1, '198.51.100.1', '6.6.6.6, 192.0.2.1', '192.0.2.1'],
    ['is at two hops', 2, '198.51.100.1', '192.0.2.1, 198.51.100.2', '192.0.2.1'],
    [
      'is not behind more hops than were told',
      1,
      '198.51.100.1',
      '6.6.6.6, 192.0.2.1',
      '192.0.2.1',
    ],
    ['is the first of fewer hops', 3, '198.51.100.1', '192.0.2.1', '192.0.2.1'],
    ['is unknown when it has left', PROXIES, undefined, '192.0.2.1', undefined],
    ['is IPv4 also in IPv6', undefined, '::ffff:192.0.2.1', undefined, '192.0.2.1'],
    ['is IPv4 also in hexadecimal', undefined, '::FFFF:c000:0201', undefined, '192.0.2.1'],
    ['is IPv4 also in full', undefined, '0:0:0:0:0:ffff:192.0.2.1', undefined, '192.0.2.1'],
    ['is a network in IPv6', undefined, '2001:DB8:a:b:1:2:3:4', undefined, '2001:db8:a:b::/64'],
    ['is the same network', undefined, '2001:db8:000a:b::1', undefined, '2001:db8:a:b::/64'],
    ['is a short network', undefined, '::1', undefined, '0:0:0:0::/64'],
    ['is without its zone', undefined, 'fe80::1%eth0', undefined, 'fe80:0:0:0::/64'],
    ['is a proxy that is mapped', PROXIES, '::ffff:10.0.0.1', '192.0.2.1', '192.0.2.1'],
  ])('%s', (_name, trust, peer, forwardedFor, address) => {
    expect(clientAddressReader(trustIn(trust))(peer, forwardedFor)).toBe(address)
  })

  test.each<[Exclude<TrustProxy, undefined>, string, string]>([
    [PROXIES, '10.0.0.1', '6.6.6.6, 192.0.2.1, 10.0.0.2'],
    [PROXIES, '192.0.2.9', '6.6.6.6'],
    [PROXIES, '10.0.0.1', '10.9.9.9'],
    [1, '198.51.100.1', '6.6.6.6, 192.0.2.1'],
    [2, '198.51.100.1', '192.0.2.1, 198.51.100.2'],
    [5, '198.51.100.1', '192.0.2.1'],
  ])('is that of Fastify, trusting %j', async (trust, remoteAddress, forwardedFor) => {
    const app = Fastify({ trustProxy: trustIn(trust) })
    app.get('/', ({ ip }) => Promise.resolve(ip))
    const headers = { 'x-forwarded-for': forwardedFor }
    const { body } = await app.inject({ url: '/', remoteAddress, headers })
    expect(clientAddressReader(trustIn(trust))(remoteAddress, forwardedFor)).toBe(body)
  })
})
