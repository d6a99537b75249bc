import { PassThrough } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { EventReader } from '../../../src/doctor/events.ts'
import { Sightings, cacheUse } from '../../../src/doctor/sightings.ts'
import type { Headers } from '../../../src/doctor/wire.ts'

function reading(headers: Headers = {}) {
  const body = new PassThrough()
  const reader = new EventReader(
    {
      status: 200,
      headers,
      sentAt: 0,
      headAt: 0,
      connection: 1,
      body,
      isWhole: () => body.readableEnded,
    },
    () => body.destroy(),
  )
  return { body, reader }
}

const EVENT = 'id: 7\nevent: data\ndata: hello\n\n'

describe('a reader of events', () => {
  test('finds events and heartbeats, however they are cut', async () => {
    const { body, reader } = reading()
    for (const character of `:\n\n${EVENT}`) body.write(character)
    expect(await reader.until(({ data }) => data.length === 1, 1000)).toBe(true)
    expect(reader.data[0]).toMatchObject({ id: '7', data: 'hello' })
    expect(reader.comments).toHaveLength(1)
  })

  test('knows all line ends', async () => {
    const { body, reader } = reading()
    body.write(EVENT.replaceAll('\n', '\r\n'))
    expect(await reader.until(({ data }) => data.length === 1, 1000)).toBe(true)
  })

  test('reads what is compressed', async () => {
    const { body, reader } = reading({ 'content-encoding': 'gzip' })
    body.end(gzipSync(EVENT))
    expect(await reader.until((all) => all.carrying('hello') !== undefined, 1000)).toBe(true)
  })

  test('does not wait longer than it may, nor for what has ended', async () => {
    const { body, reader } = reading()
    expect(await reader.until(() => false, 20)).toBe(false)
    body.end()
    expect(await reader.until(() => false, 60_000)).toBe(false)
    expect(reader.end).toMatchObject({ isWhole: true })
  })

  test('leaves what has no end', async () => {
    const { body, reader } = reading()
    const text = 'x'.repeat(64 * 1024)
    for (let n = 0; n < 20 && !body.destroyed; n += 1) {
      body.write(text)
      await reader.until(() => false, 1)
    }
    expect([body.destroyed, reader.end]).toMatchObject([true, { isWhole: false }])
  })

  test('tells what was cut off', async () => {
    const { body, reader } = reading()
    body.destroy()
    await reader.until(() => false, 60_000)
    expect(reader.end).toMatchObject({ isWhole: false })
  })
})

describe('what answers tell', () => {
  test.each<[Headers, string]>([
    [{}, 'unknown'],
    [{ 'cf-cache-status': 'HIT' }, 'hit'],
    [{ 'x-cache': 'Hit from cloudfront' }, 'hit'],
    [{ 'x-cache': 'Miss from cloudfront' }, 'miss'],
    [{ 'cache-status': 'Edge; hit; ttl=5' }, 'hit'],
    [{ 'cache-status': 'Edge; fwd=miss' }, 'miss'],
    [{ 'cf-cache-status': 'DYNAMIC' }, 'miss'],
    [{ age: '3' }, 'hit'],
    [{ age: '0' }, 'unknown'],
    [{ 'x-varnish': '32770 3' }, 'hit'],
    [{ 'x-varnish': '32770' }, 'miss'],
  ])('of caches: %o is a %s', (headers, use) => {
    expect(cacheUse(headers)).toBe(use)
  })

  test('of proxies and refusals', () => {
    const sightings = new Sightings()
    sightings.take(200, { server: 'cloudflare', 'cf-ray': '1' })
    sightings.take(429, { server: 'nginx/1.22.1' })
    sightings.take(503, { 'retry-after': '2' })
    expect(sightings.proxies).toEqual(['Cloudflare', 'nginx'])
    expect([sightings.refused, sightings.refusedWithoutWait]).toEqual([2, 1])
  })
})
