import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { CHECKS } from '../../../src/doctor/checks.ts'
import type { Result, Status } from '../../../src/doctor/check.ts'
import { REMEDIES, adviceFor } from '../../../src/doctor/remedies.ts'
import { exitCodeOf, renderJson, renderResult, renderTail } from '../../../src/doctor/report.ts'
import type { Report } from '../../../src/doctor/report.ts'

const result = (status: Status, more: Partial<Result> = {}): Result => ({
  id: `a-${status}`,
  title: 'all is well',
  status,
  seen: 'something was seen',
  tookMs: 12.3,
  ...more,
})

const report = (...results: readonly Result[]): Report => ({
  url: 'https://streams.example.com/v1/stream/',
  startedAt: '2026-01-01T00:00:00.000Z',
  tookMs: 1234.5,
  protocol: 'HTTP/2',
  proxies: ['nginx'],
  results,
  left: [],
  interrupted: false,
})

describe('the exit code', () => {
  test.each([
    ['nothing but ok and skip', report(result('ok'), result('skip')), false, 0],
    ['a warning', report(result('warn')), false, 0],
    ['a warning that counts', report(result('warn')), true, 1],
    ['a failure', report(result('ok'), result('fail')), false, 1],
    ['nobody there', { ...report(), unreachable: 'the connection was refused' }, false, 3],
    ['an interruption', { ...report(result('fail')), interrupted: true }, false, 130],
  ])('of %s', (_what, of, strict, code) => {
    expect(exitCodeOf(of, strict)).toBe(code)
  })
})

describe('the report for programs', () => {
  test('is one line of JSON with all that was found', () => {
    const text = renderJson(
      report(result('ok', { measured: { tookMs: 1 } }), result('fail', { remedy: 'bodySize' })),
      false,
    )
    expect(text.trimEnd().split('\n')).toHaveLength(1)
    expect(JSON.parse(text)).toEqual({
      url: 'https://streams.example.com/v1/stream/',
      startedAt: '2026-01-01T00:00:00.000Z',
      tookMs: 1235,
      protocol: 'HTTP/2',
      proxies: ['nginx'],
      left: [],
      interrupted: false,
      exitCode: 1,
      counts: { ok: 1, warn: 0, fail: 1, skip: 0 },
      checks: [
        {
          id: 'a-ok',
          title: 'all is well',
          status: 'ok',
          seen: 'something was seen',
          measured: { tookMs: 1 },
          tookMs: 12,
          change: [],
        },
        {
          id: 'a-fail',
          title: 'all is well',
          status: 'fail',
          seen: 'something was seen',
          tookMs: 12,
          change: [
            { at: 'nginx', set: expect.stringContaining('client_max_body_size 0') as string },
            { at: 'gateway', set: expect.stringContaining('MAX_APPEND_BYTES') as string },
            { at: 'any', set: expect.any(String) as string },
          ],
        },
      ],
    })
  })
})

describe('the report for people', () => {
  test('says of what is wrong what to change, and where', () => {
    const text = renderResult(result('fail', { remedy: 'bodySize' }), ['nginx'])
    expect(text).toMatch(/^FAIL {2}a-fail: something was seen\n {6}→ nginx: client_max_body_size 0/)
    expect(text).not.toContain('Caddy')
  })

  test('says it for all products where none was seen', () => {
    const text = renderResult(result('warn', { remedy: 'bodySize' }), [])
    expect(text).toMatch(/→ nginx: [^]*→ Caddy: [^]*→ Cloudflare: /)
  })

  test('has no more to say of what is right', () => {
    const text = renderResult(result('ok', { remedy: 'bodySize' }), [])
    expect(text).toBe('ok    a-ok: something was seen\n')
  })

  test('has lines of a hundred characters at most', () => {
    const lines = Object.keys(REMEDIES).flatMap((remedy) =>
      renderResult(
        result('fail', { remedy: remedy as keyof typeof REMEDIES, seen: 'word '.repeat(60) }),
        [],
      ).split('\n'),
    )
    expect(lines.filter((line) => line.length > 100)).toEqual([])
  })

  test('ends with what it comes to, and what could not be deleted', () => {
    const text = renderTail({ ...report(result('ok'), result('warn')), left: ['/v1/stream/a'] })
    expect(text).toContain('/v1/stream/a')
    expect(text).toContain('1 ok, 1 warning, 0 failures, 0 skipped, in 1.2 s')
    expect(text).toContain('nginx')
  })

  test('says why there was nothing to check', () => {
    expect(renderTail({ ...report(), unreachable: 'the connection was refused' })).toContain(
      'the connection was refused',
    )
  })
})

describe('remedies', () => {
  test.each(Object.keys(REMEDIES) as (keyof typeof REMEDIES)[])('%s says something', (remedy) => {
    expect(adviceFor(remedy, []).length).toBeGreaterThan(0)
    // A product for which it has nothing to say does not hide the others.
    expect(adviceFor(remedy, ['Fastly' as never])).toEqual(adviceFor(remedy, []))
  })
})

describe('checks', () => {
  const names = CHECKS.map(({ id }) => id)

  test('have names of their own', () => {
    expect(new Set(names).size).toBe(names.length)
  })

  test('are explained, each of them, in the README', () => {
    const readme = readFileSync(new URL('../../../src/doctor/README.md', import.meta.url), 'utf8')
    const rows = [...readme.matchAll(/^\| `([\w-]+)` +\|/gm)].map(([, name]) => name)
    expect(rows).toEqual(names)
  })
})
