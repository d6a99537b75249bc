import { describe, expect, test } from 'vitest'
import { USAGE, parseDoctorArguments } from '../../../src/doctor/arguments.ts'
import type { Options } from '../../../src/doctor/arguments.ts'
import { encodeName, parseTarget } from '../../../src/doctor/target.ts'

const CHECKS = ['tail', 'cors']
const URL_OF = 'https://streams.example.com'

const parse = (args: readonly string[], token?: string) => parseDoctorArguments(args, token, CHECKS)

function optionsOf(args: readonly string[], token?: string): Options {
  const parsed = parse([URL_OF, ...args], token)
  if (parsed.kind !== 'run') throw new Error(JSON.stringify(parsed))
  return parsed.options
}

describe('the command line', () => {
  test('needs the URL alone', () => {
    expect(optionsOf([])).toMatchObject({
      token: undefined,
      origin: undefined,
      streamPrefix: 'doctor/',
      timeoutMs: 10_000,
      idleMs: 20_000,
      json: false,
      strict: false,
      insecure: false,
      only: undefined,
      skip: [],
    })
  })

  test('takes options before and behind it', () => {
    const parsed = parse(['--idle', '1.5', URL_OF, '--only', 'tail, cors', '--strict'])
    expect(parsed).toMatchObject({
      kind: 'run',
      options: { idleMs: 1500, only: ['tail', 'cors'], strict: true },
    })
  })

  test('has a token before that of the environment, and an empty one is none', () => {
    expect(optionsOf(['--token', 'a'], 'b').token).toBe('a')
    expect(optionsOf([], 'b').token).toBe('b')
    expect(optionsOf([], '').token).toBeUndefined()
  })

  test('asks for help, whatever else there is', () => {
    expect(parse(['--help'])).toEqual({ kind: 'help' })
    expect(parse([URL_OF, '-h'])).toEqual({ kind: 'help' })
  })

  test.each([
    ['no URL', []],
    ['two of them', [URL_OF, URL_OF]],
    ['one that is none', ['streams.example.com']],
    ['one of another scheme', ['ftp://streams.example.com']],
    ['one with a query', [`${URL_OF}?a=b`]],
    ['one with a password', ['https://me:secret@streams.example.com']],
    ['an option that there is not', [URL_OF, '--fast']],
    ['an option without its value', [URL_OF, '--token']],
    ['no time at all', [URL_OF, '--idle', '0']],
    ['a time that is none', [URL_OF, '--timeout', 'soon']],
    ['a time that is too long', [URL_OF, '--timeout', '3601']],
    ['a check that there is not', [URL_OF, '--only', 'tails']],
    ['no check at all', [URL_OF, '--only', '']],
    ['none that is left', [URL_OF, '--only', 'tail', '--skip', 'tail']],
    ['the same to be skipped', [URL_OF, '--skip', 'tails']],
    ['an origin with a path', [URL_OF, '--origin', 'https://app.example/']],
    ['an origin that is none', [URL_OF, '--origin', '*']],
    ['a prefix that is no name', [URL_OF, '--stream-prefix', '/doctor/']],
    ['a prefix that climbs', [URL_OF, '--stream-prefix', '../']],
    ['a token with a line break', [URL_OF, '--token', 'a\nb: c']],
  ])('is refused with %s', (_what, args) => {
    const parsed = parse(args)
    expect(parsed).toMatchObject({ kind: 'wrong' })
    expect(parsed.kind === 'wrong' && parsed.message).toMatch(/\w/)
  })

  test('does not repeat a token that it refuses', () => {
    expect(JSON.stringify(parse([URL_OF, '--token', 'my secret']))).not.toContain('secret')
  })

  test('is explained, with every option', () => {
    for (const option of [
      '--token',
      '--stream-prefix',
      '--origin',
      '--idle',
      '--timeout',
      '--only',
      '--skip',
      '--http1',
      '--insecure',
      '--json',
      '--strict',
    ]) {
      expect(USAGE).toContain(option)
    }
  })
})

describe('the URL of a deployment', () => {
  test.each([
    ['https://a.example', 'https://a.example', '/v1/stream/'],
    ['https://a.example/', 'https://a.example', '/v1/stream/'],
    ['https://a.example:8443/v1/stream', 'https://a.example:8443', '/v1/stream/'],
    ['https://a.example/v1/stream/', 'https://a.example', '/v1/stream/'],
    ['http://[::1]:4437/base/', 'http://[::1]:4437', '/base/v1/stream/'],
  ])('%s', (text, origin, streams) => {
    const target = parseTarget(text)
    expect([target?.origin.origin, target?.streams]).toEqual([origin, streams])
  })

  test('names are escaped by segment', () => {
    expect(encodeName('a b/c%d/é')).toBe('a%20b/c%25d/%C3%A9')
  })
})
