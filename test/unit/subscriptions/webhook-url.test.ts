import { describe, expect, test, vi } from 'vitest'
import type { Lookup } from '../../../src/subscriptions/webhook-address.ts'
import { judgeWebhookTarget, judgeWebhookUrl } from '../../../src/subscriptions/webhook-url.ts'
import type { WebhookUrlVerdict } from '../../../src/subscriptions/webhook-url.ts'

const PRODUCTION = { allowLocalhost: false }
const DEVELOPMENT = { allowLocalhost: true }

/** The URL, or the reason against it. */
const told = (verdict: WebhookUrlVerdict) =>
  verdict.kind === 'allowed' ? verdict.url.href : verdict.reason

const NOT_PUBLIC = 'has an address that is not public'
const LOCAL_NAME = 'has a host name that is not public'
const NO_NAME = 'has no proper host name'
const NO_URL = 'is not an absolute URL'
const label = (length: number) => 'a'.repeat(length)
const name = (...lengths: number[]) => lengths.map(label).join('.')

describe.each([
  ['production', PRODUCTION],
  ['development', DEVELOPMENT],
])('judgeWebhookUrl in %s', (_mode, options) => {
  test.each([
    ['https://worker.example/hooks', 'https://worker.example/hooks'],
    ['https://worker.example', 'https://worker.example/'],
    ['https://worker.example:8443/a?b=c%20d', 'https://worker.example:8443/a?b=c%20d'],
    ['HTTPS://Worker.EXAMPLE:443/Hooks', 'https://worker.example/Hooks'],
    ['https://worker.example./hooks', 'https://worker.example/hooks'],
    [' https://worker.example/ ', 'https://worker.example/'],
    ['https://bücher.example/', 'https://xn--bcher-kva.example/'],
    ['https://my_hooks.example/', 'https://my_hooks.example/'],
    ['https://localhost.example/', 'https://localhost.example/'],
    ['https://internal.example/', 'https://internal.example/'],
    ['https://notlocal.example/', 'https://notlocal.example/'],
    ['https://8.8.8.8/', 'https://8.8.8.8/'],
    ['https://134744072/', 'https://8.8.8.8/'],
    ['https://[2606:4700:4700::1111]/', 'https://[2606:4700:4700::1111]/'],
    ['https://[::ffff:8.8.8.8]/', 'https://[::ffff:808:808]/'],
    [`https://${name(63, 63, 63, 61)}/`, `https://${name(63, 63, 63, 61)}/`],
    [`https://a.example/${'x'.repeat(2030)}`, `https://a.example/${'x'.repeat(2030)}`],
  ])('allows %j', (text, href) => expect(told(judgeWebhookUrl(text, options))).toBe(href))

  test.each([
    // the form
    ['', NO_URL],
    ['/hooks', NO_URL],
    ['worker.example/hooks', NO_URL],
    ['https://', NO_URL],
    ['https://worker.example:65536/', NO_URL],
    ['https://%00.example/', NO_URL],
    ['https://wor ker.example/', NO_URL],
    ['http://worker.example/', 'must use https'],
    ['http://8.8.8.8/', 'must use https'],
    ['ws://worker.example/', 'must use https'],
    ['ftp://worker.example/', 'must use https'],
    ['file:///etc/passwd', 'must use https'],
    ['data:text/plain,x', 'must use https'],
    ['worker.example:443/hooks', 'must use https'],
    ['javascript:alert(1)', 'must use https'],
    ['https://me@worker.example/', 'must not have credentials'],
    ['https://me:secret@worker.example/', 'must not have credentials'],
    ['https://:secret@worker.example/', 'must not have credentials'],
    ['https://worker.example@10.0.0.1/', 'must not have credentials'],
    ['https://worker.example/#x', 'must not have a fragment'],
    ['https://worker.example/#', 'must not have a fragment'],
    [`https://a.example/${'x'.repeat(2031)}`, 'is longer than 2048 characters'],
    [`https://a.example/${'é'.repeat(400)}`, 'is longer than 2048 characters'],
    // names
    ['https://worker/', LOCAL_NAME],
    ['https://worker./', LOCAL_NAME],
    ['https://metadata/', LOCAL_NAME],
    ['https://com/', LOCAL_NAME],
    ['https://a.localhost/', LOCAL_NAME],
    ['https://a.b.LOCALHOST./', LOCAL_NAME],
    ['https://printer.local/', LOCAL_NAME],
    ['https://printer.local./', LOCAL_NAME],
    ['https://metadata.google.internal/', LOCAL_NAME],
    ['https://metadata.google.internal./', LOCAL_NAME],
    ['https://metadata。google。internal/', LOCAL_NAME],
    ['https://a.%6cocalhost/', LOCAL_NAME],
    ['https://a.ｌｏｃａｌ/', LOCAL_NAME],
    ['https://worker.example../', NO_NAME],
    ['https://worker..example/', NO_NAME],
    ['https://.example/', NO_NAME],
    ['https://./', NO_NAME],
    ['https://../', NO_NAME],
    ['https://*.example/', NO_NAME],
    ['https://-a.example/', NO_NAME],
    ['https://a-.example/', NO_NAME],
    [`https://${label(64)}.example/`, NO_NAME],
    [`https://${name(63, 63, 63, 62)}/`, NO_NAME],
    // addresses that are not public, whichever way they are written
    ['https://0.0.0.0/', NOT_PUBLIC],
    ['https://0/', NOT_PUBLIC],
    ['https://0x/', NOT_PUBLIC],
    ['https://10.0.0.1/', NOT_PUBLIC],
    ['https://10.0.0.1./', NOT_PUBLIC],
    ['https://10.1/', NOT_PUBLIC],
    ['https://012.0.0.1/', NOT_PUBLIC],
    ['https://0xa.0.0.1/', NOT_PUBLIC],
    ['https://0XA000001/', NOT_PUBLIC],
    ['https://167772161/', NOT_PUBLIC],
    ['https://%31%30.0.0.1/', NOT_PUBLIC],
    ['https://10%2e0%2e0%2e1/', NOT_PUBLIC],
    ['https://１０.0.0.1/', NOT_PUBLIC],
    ['https://①⓪.0.0.1/', NOT_PUBLIC],
    ['https://10。0．0｡1/', NOT_PUBLIC],
    ['https:\\\\10.0.0.1\\', NOT_PUBLIC],
    ['https:10.0.0.1', NOT_PUBLIC],
    ['https://1\t0.0.0.1/', NOT_PUBLIC],
    ['https://172.16.0.1/', NOT_PUBLIC],
    ['https://192.168.0.1:8443/', NOT_PUBLIC],
    ['https://169.254.169.254/latest/meta-data/', NOT_PUBLIC],
    ['https://2852039166/', NOT_PUBLIC],
    ['https://0xA9FEA9FE/', NOT_PUBLIC],
    ['https://0251.0376.0251.0376/', NOT_PUBLIC],
    ['https://100.100.100.200/', NOT_PUBLIC],
    ['https://168.63.129.16/', NOT_PUBLIC],
    ['https://255.255.255.255/', NOT_PUBLIC],
    ['https://4294967295/', NOT_PUBLIC],
    ['https://4294967296/', NO_URL],
    ['https://1.2.3.4.5/', NO_URL],
    ['https://256.1.1.1/', NO_URL],
    ['https://[::]/', NOT_PUBLIC],
    ['https://[::1]/', NOT_PUBLIC],
    ['http://[::1]/', 'must use https'],
    ['https://[0:0:0:0:0:0:0:1]/', NOT_PUBLIC],
    ['https://[::127.0.0.1]/', NOT_PUBLIC],
    ['https://[::ffff:127.0.0.1]/', NOT_PUBLIC],
    ['https://[::ffff:10.0.0.1]/', NOT_PUBLIC],
    ['https://[::ffff:a00:1]/', NOT_PUBLIC],
    ['https://[::FFFF:A9FE:A9FE]/', NOT_PUBLIC],
    ['https://[0:0:0:0:0:ffff:169.254.169.254]/', NOT_PUBLIC],
    ['https://[fd00:ec2::254]/', NOT_PUBLIC],
    ['https://[fe80::1]/', NOT_PUBLIC],
    ['https://[fe80::1%25eth0]/', NO_URL],
    ['https://[64:ff9b::a00:1]/', NOT_PUBLIC],
    ['https://[2002:a00:1::]/', NOT_PUBLIC],
    ['https://[2001::1]/', NOT_PUBLIC],
    ['https://[ff02::1]/', NOT_PUBLIC],
  ])('refuses %j: %s', (text, reason) =>
    expect(judgeWebhookUrl(text, options)).toEqual({ kind: 'refused', reason }),
  )
})

describe('the exception for development', () => {
  test.each([
    ['http://localhost/', 'http://localhost/', 'must use https'],
    ['http://localhost:3000/a', 'http://localhost:3000/a', 'must use https'],
    ['http://LOCALHOST./', 'http://localhost/', 'must use https'],
    ['http://%6cocalhost/', 'http://localhost/', 'must use https'],
    ['https://localhost/', 'https://localhost/', LOCAL_NAME],
    ['https://localhost./', 'https://localhost/', LOCAL_NAME],
    ['http://127.0.0.1:3000/', 'http://127.0.0.1:3000/', 'must use https'],
    ['http://127.0.0.9/', 'http://127.0.0.9/', 'must use https'],
    ['http://127.9.8.7/', 'http://127.9.8.7/', 'must use https'],
    ['https://127.0.0.1/', 'https://127.0.0.1/', NOT_PUBLIC],
    ['https://127.0.0.1./', 'https://127.0.0.1/', NOT_PUBLIC],
    ['https://127.1/', 'https://127.0.0.1/', NOT_PUBLIC],
    ['https://2130706433/', 'https://127.0.0.1/', NOT_PUBLIC],
    ['https://0177.0.0.1/', 'https://127.0.0.1/', NOT_PUBLIC],
    ['https://0x7f.1/', 'https://127.0.0.1/', NOT_PUBLIC],
    ['https://１２７。０。０。１/', 'https://127.0.0.1/', NOT_PUBLIC],
    ['https://%31%32%37.0.0.1/', 'https://127.0.0.1/', NOT_PUBLIC],
  ])('covers %j, as %s', (text, href, reason) => {
    expect(told(judgeWebhookUrl(text, DEVELOPMENT))).toBe(href)
    expect(told(judgeWebhookUrl(text, PRODUCTION))).toBe(reason)
  })

  test.each([
    ['ftp://localhost/', 'must use https'],
    ['http://me@localhost/', 'must not have credentials'],
    ['http://localhost/#x', 'must not have a fragment'],
    ['http://a.localhost/', 'must use https'],
    ['http://0.0.0.0/', 'must use https'],
    ['http://0/', 'must use https'],
    ['http://[::]/', 'must use https'],
    ['http://[::ffff:127.0.0.1]/', 'must use https'],
    ['http://10.0.0.1/', 'must use https'],
    ['http://128.0.0.1/', 'must use https'],
    ['http://127.0.0.1.example/', 'must use https'],
  ])('does not cover %j', (text, reason) =>
    expect(told(judgeWebhookUrl(text, DEVELOPMENT))).toBe(reason),
  )
})

describe('judgeWebhookTarget', () => {
  const RESOLVED = 'has a host with an address that is not public'
  const finds =
    (...addresses: string[]): Lookup =>
    () =>
      Promise.resolve(addresses)
  const fails: Lookup = () => Promise.reject(new Error('ENOTFOUND'))
  const unused: Lookup = () => {
    throw new Error('nothing to look up')
  }
  const URL_TEXT = 'https://worker.example/'

  test.each([
    ['a public address', URL_TEXT, finds('8.8.8.8', '2606:4700::1'), URL_TEXT],
    ['a private one', URL_TEXT, finds('10.0.0.1'), RESOLVED],
    ['a private one among others', URL_TEXT, finds('8.8.8.8', '2a00::1', 'fd00::1'), RESOLVED],
    ['a mapped one', URL_TEXT, finds('::ffff:a9fe:a9fe'), RESOLVED],
    ['loopback', URL_TEXT, finds('127.0.0.1'), RESOLVED],
    ['what is no address', URL_TEXT, finds('elsewhere.example'), RESOLVED],
    ['no address', URL_TEXT, finds(), URL_TEXT],
    ['a failing resolver', URL_TEXT, fails, URL_TEXT],
    ['localhost, ours', 'http://localhost/', finds('::1', '127.0.0.1'), 'http://localhost/'],
    ['localhost, elsewhere', 'http://localhost/', finds('10.0.0.1'), RESOLVED],
    ['localhost, public', 'http://localhost/', finds('8.8.8.8'), RESOLVED],
    ['an address in the URL', 'https://8.8.8.8/', unused, 'https://8.8.8.8/'],
    ['an IPv6 address in the URL', 'https://[2a00::1]/', unused, 'https://[2a00::1]/'],
    ['loopback in the URL', 'http://127.0.0.1/', unused, 'http://127.0.0.1/'],
    ['a refused URL', 'https://a.internal/', unused, LOCAL_NAME],
  ])('%s', async (_name, text, lookup, expected) => {
    expect(told(await judgeWebhookTarget(text, { allowLocalhost: true, lookup }))).toBe(expected)
  })

  test('asks for the host without the dot of the root', async () => {
    const asked: string[] = []
    const lookup: Lookup = (hostname) => {
      asked.push(hostname)
      return Promise.resolve(['8.8.8.8'])
    }
    await judgeWebhookTarget('https://Worker.Example.:8443/', { allowLocalhost: false, lookup })
    expect(asked).toEqual(['worker.example'])
  })

  test('waits for a silent resolver, but not for long', async () => {
    vi.useFakeTimers()
    try {
      const lookup: Lookup = () => new Promise(() => undefined)
      const verdict = judgeWebhookTarget(URL_TEXT, { allowLocalhost: false, lookup })
      await vi.advanceTimersByTimeAsync(2_000)
      expect(told(await verdict)).toBe(URL_TEXT)
    } finally {
      vi.useRealTimers()
    }
  })
})
