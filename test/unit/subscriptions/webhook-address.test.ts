import { describe, expect, test } from 'vitest'
import { isLoopbackAddress, isPublicAddress } from '../../../src/subscriptions/webhook-address.ts'

describe('isPublicAddress', () => {
  // Both ends of each range, and the neighbours that are public.
  test.each([
    ['this host', ['0.0.0.0', '0.255.255.255'], ['1.0.0.0']],
    ['private', ['10.0.0.0', '10.255.255.255'], ['9.255.255.255', '11.0.0.0']],
    ['carrier NAT', ['100.64.0.0', '100.127.255.255'], ['100.63.255.255', '100.128.0.0']],
    ['loopback', ['127.0.0.0', '127.255.255.255'], ['126.255.255.255', '128.0.0.0']],
    ['Azure', ['168.63.129.16'], ['168.63.129.15', '168.63.129.17']],
    ['link-local', ['169.254.0.0', '169.254.255.255'], ['169.253.255.255', '169.255.0.0']],
    ['private', ['172.16.0.0', '172.31.255.255'], ['172.15.255.255', '172.32.0.0']],
    ['assignments', ['192.0.0.0', '192.0.0.255'], ['191.255.255.255', '192.0.1.0']],
    ['documentation', ['192.0.2.0', '192.0.2.255'], ['192.0.3.0']],
    ['6to4 relays', ['192.88.99.0', '192.88.99.255'], ['192.88.98.255', '192.88.100.0']],
    ['private', ['192.168.0.0', '192.168.255.255'], ['192.167.255.255', '192.169.0.0']],
    ['benchmarks', ['198.18.0.0', '198.19.255.255'], ['198.17.255.255', '198.20.0.0']],
    ['documentation', ['198.51.100.0', '198.51.100.255'], ['198.51.99.255', '198.51.101.0']],
    ['documentation', ['203.0.113.0', '203.0.113.255'], ['203.0.112.255', '203.0.114.0']],
    ['multicast', ['224.0.0.0', '239.255.255.255'], ['223.255.255.255']],
    ['reserved', ['240.0.0.0', '255.255.255.255'], []],
  ])('knows the IPv4 range: %s (%j, not %j)', (_name, special, others) => {
    const mapped = (addresses: string[]) => addresses.map((address) => `::ffff:${address}`)
    expect([...special, ...mapped(special)].filter(isPublicAddress)).toEqual([])
    const all = [...others, ...mapped(others)]
    expect(all.filter(isPublicAddress)).toEqual(all)
  })

  test.each([
    ['unspecified and loopback', ['::', '::1']],
    ['IPv4-compatible', ['::10.0.0.1', '::8.8.8.8', '::808:808']],
    [
      'IPv4-mapped',
      ['::ffff:10.0.0.1', '::ffff:a00:1', '0:0:0:0:0:ffff:7f00:0001', '::FFFF:a9fe:a9fe'],
    ],
    ['IPv4-translated', ['::ffff:0:8.8.8.8']],
    ['unique local', ['fc00::', 'fd00:ec2::254', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff']],
    ['link-local', ['fe80::1', 'febf::1', 'fe80::1%eth0', 'fe80::1%1']],
    ['site-local', ['fec0::1', 'feff::1']],
    ['multicast', ['ff00::', 'ff02::1', 'ffff::']],
    ['documentation', ['2001:db8::', '2001:db8:ffff::1', '3fff::1', '3fff:fff::1']],
    ['Teredo', ['2001::', '2001:0:ffff::1']],
    ['protocol assignments', ['2001:2::1', '2001:10::1', '2001:20::1', '2001:1ff:ffff::1']],
    ['6to4', ['2002::', '2002:a00:1::1', '2002:808:808::1']],
    ['NAT64', ['64:ff9b::10.0.0.1', '64:ff9b::808:808', '64:ff9b:1::1']],
    ['discard', ['100::', '100::1']],
    ['not given out', ['4000::1', '5f00::1', '1fff::1']],
    ['public, but of one interface', ['2606:4700::1111%eth0']],
  ])('refuses in IPv6: %s', (_name, addresses) => {
    expect(addresses.filter(isPublicAddress)).toEqual([])
  })

  test.each(['2606:4700:4700::1111', '2001:200::1', '2001:4860:4860::8888', '2a00::1', '2003::1'])(
    'allows %s',
    (address) => expect(isPublicAddress(address)).toBe(true),
  )

  test.each([
    '',
    'localhost',
    '8.8.8',
    '8.8.8.8 ',
    '08.8.8.8',
    '134744072',
    '[2a00::1]',
    '2a00:::1',
  ])('takes %j for no address', (text) => {
    expect(isPublicAddress(text)).toBe(false)
    expect(isLoopbackAddress(text)).toBe(false)
  })
})

describe('isLoopbackAddress', () => {
  test.each([
    ['127.0.0.1', true],
    ['127.255.255.254', true],
    ['::1', true],
    ['::ffff:127.0.0.1', true],
    ['0.0.0.0', false],
    ['128.0.0.1', false],
    ['::', false],
    ['::2', false],
    ['8.8.8.8', false],
  ])('%s: %s', (address, verdict) => expect(isLoopbackAddress(address)).toBe(verdict))
})
