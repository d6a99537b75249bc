import { describe, expect, test } from 'vitest'
import {
  areExact,
  isAmong,
  originsOf,
  parseOrigins,
  parseProjectOrigins,
} from '../../../src/protocol/origins.ts'

/** What hostile pages, careless clients and odd browsers may send. */
const NOBODY = [
  'null',
  'NULL',
  '',
  '*',
  'https://',
  'https://*',
  'https://*.a.example',
  'a.example',
  '//a.example',
  'ftp://a.example',
  'file://',
  'https:a.example',
  'https:/a.example',
  'https:\\\\a.example',
  'https://a.example/',
  'https://a.example/x',
  'https://a.example?',
  'https://a.example#',
  'https://u@a.example',
  'https://u:p@a.example',
  'https://a.example@evil.example',
  'https://evil.example#a.example',
  'https://evil.example?.a.example',
  'https://evil.example\\.a.example',
  'https://a.example.',
  'https://.a.example',
  'https://x..a.example',
  'https://x.a.example.',
  'https://a.example:',
  'https://a.example:443:443',
  'https://a.example:x',
  'https://a.example:0443',
  'https://a.example:99999',
  ' https://a.example',
  'https://a.example ',
  'https://a.example, https://a.example',
  'https://a.example https://a.example',
  'https://a.example\u0000',
  'https://a%2eexample',
  'https://\uff41.example',
  'https://\u0430.example',
  'https://a\u3002example',
  'https://x\u00e9.a.example',
  'https://a.examp\u0131e',
  'http\u017f://a.example',
] as const

describe('isAmong', () => {
  const listed = parseOrigins(
    'https://a.example, http://b.example:8080 https://*.a.example,\n http://[::1]:3000, https://k.example, https://*.w.example:8443',
  )

  test.each([
    'https://a.example',
    'HTTPS://A.EXAMPLE',
    'https://A.example:443',
    'http://b.example:8080',
    'https://x.a.example',
    'https://y.x.A.example',
    'https://a.example.a.example',
    'https://xn--bcher-kva.a.example',
    'https://my_app.a.example',
    'http://[::1]:3000',
    'https://x.w.example:8443',
  ])('takes %s', (origin) => {
    expect(isAmong(listed, origin)).toBe(true)
  })

  test.each([
    ...NOBODY,
    'http://a.example',
    'https://a.example:80',
    'https://a.example:8443',
    'http://a.example:443',
    'http://x.a.example',
    'https://x.a.example:8443',
    'https://b.example:8080',
    'http://b.example',
    'http://b.example:80',
    'http://x.b.example:8080',
    'https://evila.example',
    'https://a.example.evil.com',
    'https://x.a.example.evil.com',
    'https://x.evila.example',
    'https://aXexample',
    'https://a.example.com',
    'https://example',
    'http://[::1]',
    'http://[::2]:3000',
    'https://w.example:8443',
    'https://x.w.example',
    // The Kelvin sign, whose small letter is a k.
    'https://\u212a.example',
  ])('does not take %j', (origin) => {
    expect(isAmong(listed, origin)).toBe(false)
  })

  test('does not take a parent for its own subdomain', () => {
    const subdomains = parseOrigins('https://*.a.example')
    expect(isAmong(subdomains, 'https://x.a.example')).toBe(true)
    expect(isAmong(subdomains, 'https://a.example')).toBe(false)
  })

  test('takes whatever is sent when all may read', () => {
    const any = parseOrigins(' * ')
    for (const origin of [...NOBODY, 'https://a.example']) expect(isAmong(any, origin)).toBe(true)
  })

  test('is as quick with a long origin as it is long', () => {
    const begun = performance.now()
    for (const unit of ['a', 'a.', 'a-', '.', ':1', 'https://']) {
      expect(isAmong(listed, `https://${unit.repeat(100_000)}!`)).toBe(false)
    }
    expect(performance.now() - begun).toBeLessThan(1000)
  })
})

describe('parseOrigins', () => {
  test.each([
    ['', /there is no origin/],
    [' , ', /there is no origin/],
    ['https://a.example, *', /origin 2 is \*, which has to stand alone/],
    ['* *', /origin 1 is \*/],
    ['null', /origin 1 is null/],
    ['a.example', /does not begin with http/],
    ['*.a.example', /does not begin with http/],
    ['ftp://a.example', /does not begin with http/],
    ['chrome-extension://abc', /does not begin with http/],
    ['https://a.example/', /has a path, or a slash at its end/],
    ['https://a.example/app', /has a path/],
    ['https://a.example//', /has a path/],
    ['https://u:p@a.example', /has user information/],
    ['https://u@a.example/', /has user information/],
    ['https://a.example?x', /regular expression or a query/],
    ['https://a.example#x', /not scheme, host and port/],
    ['/^https:\\/\\/.*\\.a\\.example$/', /regular expression/],
    ['https://(a|b).example', /regular expression/],
    ['https://.*.a.example', /regular expression/],
    ['https://a\\.example', /regular expression/],
    ['^https://a.example', /regular expression/],
    ['https://a.example$', /regular expression/],
    ['https://a+.example', /regular expression/],
    ['https://a{2}.example', /regular expression/],
    ['https://[a-z].example', /not scheme, host and port/],
    ['https://*', /not the whole leftmost label/],
    ['https://*.', /ends with a dot|not the whole leftmost label/],
    ['https://*a.example', /not the whole leftmost label/],
    ['https://a*.example', /not the whole leftmost label/],
    ['https://x.*.example', /not the whole leftmost label/],
    ['https://*.*.example', /not the whole leftmost label/],
    ['https://**.a.example', /not the whole leftmost label/],
    ['https://a.example:*', /not the whole leftmost label/],
    ['*://a.example', /does not begin with http/],
    ['https://a.example.', /ends with a dot/],
    ['https://a.example.:8443', /ends with a dot/],
    ['https://b\u00fccher.example', /is not ASCII/],
    ['https://a..example', /not scheme, host and port/],
    ['https://.example', /not scheme, host and port/],
    ['https://a.example:', /not scheme, host and port/],
    ['https://a.example:99999', /not scheme, host and port/],
    ['https://a.example:080', /not scheme, host and port/],
    ['https://0x7f.1', /not scheme, host and port/],
    ['https://*.0.0.1', /not scheme, host and port/],
    ['https://*.[::1]', /not scheme, host and port/],
    ['https://[0:0:0:0:0:0:0:1]', /not scheme, host and port/],
    ['https://', /not scheme, host and port/],
    ['https:a.example', /does not begin with http/],
  ])('refuses %j', (text, problem) => {
    expect(() => parseOrigins(text)).toThrow(problem)
  })

  test('does not repeat what it refuses', () => {
    expect(() => parseOrigins('https://sesame@a.example')).toThrow(/^((?!sesame).)*$/)
  })

  test.each([
    ['*', false],
    ['https://a.example', true],
    ['https://a.example http://localhost:5173', true],
    ['https://a.example https://*.a.example', false],
  ])('knows whether %s is exact', (text, exact) => {
    expect(areExact(parseOrigins(text))).toBe(exact)
  })
})

describe('parseProjectOrigins', () => {
  test('has each project’s origins in place of the others', () => {
    const policy = {
      origins: parseOrigins('https://a.example'),
      projects: parseProjectOrigins(
        'acme=https://b.example https://*.b.example; open=*;\u00f6=https://c.example;',
      ),
      credentials: false,
    }
    const readers = (project: string | undefined) =>
      ['https://a.example', 'https://b.example', 'https://x.b.example', 'https://c.example'].filter(
        (origin) => isAmong(originsOf(policy, project), origin),
      )
    expect(readers(undefined)).toEqual(['https://a.example'])
    expect(readers('other')).toEqual(['https://a.example'])
    expect(readers('ACME')).toEqual(['https://a.example'])
    expect(readers('constructor')).toEqual(['https://a.example'])
    expect(readers('acme')).toEqual(['https://b.example', 'https://x.b.example'])
    expect(readers('\u00f6')).toEqual(['https://c.example'])
    expect(readers('open')).toHaveLength(4)
  })

  test.each([
    ['acme', /project 1: its name is not followed by = and origins/],
    ['https://a.example', /project 1: its name/],
    ['=https://a.example', /project 1: its name/],
    ['a b=https://a.example', /project 1: its name/],
    ['a/b=https://a.example', /project 1: its name/],
    ['a,b=https://a.example', /project 1: its name/],
    ['..=https://a.example', /project 1: a stream name has no/],
    ['__ds=https://a.example', /project 1: names under __ds/],
    ['acme=', /project 1: there is no origin/],
    ['acme=*; other=', /project 2: there is no origin/],
    ['acme=*; other=https://a.example/', /project 2: origin 1 has a path/],
    ['acme=https://a.example=', /project 1: origin 1 is not scheme/],
    ['acme=*;acme=https://a.example', /project 2: it is there twice/],
  ])('refuses %j', (text, problem) => {
    expect(() => parseProjectOrigins(text)).toThrow(problem)
  })
})
