/** Forks over real sockets (PROTOCOL §4.2). */
import { afterEach, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { call } from '../support/http-calls.ts'
import { startGateway } from '../support/gateway.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SseClient } from '../support/sse-client.ts'

const TEXT = { 'content-type': 'text/plain' }
const JSON_TYPE = { 'content-type': 'application/json' }
const NONE = {}
type Headers = Record<string, string>
const cleanups: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

async function start({ clock }: { clock?: ManualClock } = {}) {
  const now = clock === undefined ? {} : { now: () => clock.now() }
  const log = await openEmbeddedLog({ location: { kind: 'memory' }, ...now })
  const gateway = await startGateway({ log, ...(clock && { clock }) })
  cleanups.push(async () => {
    await gateway.shutdown()
    await log.close()
  })
  const put = (name: string, headers: Headers = TEXT, body = '') =>
    call(gateway.stream(name), { method: 'PUT', headers, body })
  const fork = (name: string, source: string, headers: Headers = NONE, body = '') =>
    put(name, { 'stream-forked-from': `/v1/stream/${source}`, ...headers }, body)
  const post = async (name: string, body: string, headers: Headers = TEXT) => {
    const answer = await call(gateway.stream(name), { method: 'POST', headers, body })
    expect(answer.status).toBe(204)
    return String(answer.headers['stream-next-offset'])
  }
  const get = (name: string, query = '') => call(gateway.stream(name) + query)
  const remove = (name: string) => call(gateway.stream(name), { method: 'DELETE' })
  const code = async (answer: Promise<{ status: number; body: string }>) => {
    const { status, body } = await answer
    return [status, body === '' ? undefined : (JSON.parse(body) as { code: string }).code]
  }
  /** Reads page after page from an offset; the offset after each page comes along. */
  const pages = async (name: string, from = '-1') => {
    const found: { readonly body: string; readonly next: string }[] = []
    for (let offset = from; ;) {
      const { status, headers, body } = await get(name, `?offset=${offset}`)
      expect(status).toBe(200)
      offset = String(headers['stream-next-offset'])
      found.push({ body, next: offset })
      if (headers['stream-up-to-date'] === 'true') return found
    }
  }
  return { gateway, log, put, fork, post, get, remove, code, pages }
}

const joined = (pages: readonly { readonly body: string }[]) =>
  pages.map(({ body }) => body).join('')

describe('a fork', () => {
  test('reads what it inherits and then its own, in one response', async () => {
    const { put, fork, post, get } = await start()
    await put('s', TEXT, 'ab')
    const { status, headers } = await fork('f', 's')
    expect([status, headers['content-type']]).toEqual([201, 'text/plain'])
    await post('s', 'never')
    await post('f', 'cd')
    const read = await get('f')
    expect([read.body, read.headers['stream-up-to-date']]).toEqual(['abcd', 'true'])
    expect((await get('s')).body).toBe('abnever')
  })

  test('is one JSON array across its boundary', async () => {
    const { put, fork, post, get } = await start()
    await put('s', JSON_TYPE, '[1,2]')
    await fork('f', 's', NONE)
    await post('f', '[3]', JSON_TYPE)
    await fork('g', 'f', NONE)
    await post('g', '[4]', JSON_TYPE)
    expect((await get('g')).body).toBe('[1,2,3,4]')
  })

  test('has the bytes of a binary source', async () => {
    const { put, fork, gateway } = await start()
    await put('s', { 'content-type': 'application/octet-stream' }, '\u0000ÿ\u0001')
    await fork('f', 's')
    const bytes = async (name: string) =>
      Buffer.from(await (await fetch(gateway.stream(name))).arrayBuffer())
    expect(await bytes('f')).toEqual(await bytes('s'))
  })

  test('of several pages can be resumed from every offset it gave out', async () => {
    const { put, fork, post, pages } = await start()
    const message = (mark: string) => mark.repeat(700 * 1024)
    await put('s', TEXT, message('a'))
    const middle = await post('s', message('b'))
    await post('s', message('c'))
    await fork('f', 's', { 'stream-fork-offset': middle })
    await post('f', message('d'))
    await fork('g', 'f')
    await post('g', message('e'))
    const whole = ['a', 'b', 'd', 'e'].map(message).join('')
    const found = await pages('g')
    expect(found.length).toBeGreaterThan(2)
    expect(joined(found) === whole).toBe(true)
    let seen = 0
    for (const { body, next } of found) {
      seen += body.length
      expect(joined(await pages('g', next)) === whole.slice(seen)).toBe(true)
    }
    expect(found.map(({ next }) => next)).toEqual(found.map(({ next }) => next).sort())
    // The offset of the source is one of the fork too.
    expect(joined(await pages('f', middle)) === message('d')).toBe(true)
  })

  test('does not know what its source got later', async () => {
    const { put, fork, post, get, code } = await start()
    await put('s', TEXT, 'ab')
    await fork('f', 's')
    const later = await post('s', 'c')
    expect(await code(get('f', `?offset=${later}`))).toEqual([400, 'invalid_offset'])
  })

  test('is open though its source is closed, and has no producers of it', async () => {
    const { put, fork, post, get, gateway } = await start()
    const claim = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }
    const marks = { ...TEXT, ...claim, 'stream-seq': '5' }
    const append = (name: string, body: string, headers: Headers) =>
      call(gateway.stream(name), { method: 'POST', headers, body })
    await put('s')
    expect((await append('s', 'a', { ...marks, 'stream-closed': 'true' })).status).toBe(200)
    await fork('f', 's')
    // The same claim, and a lower Stream-Seq.
    expect((await append('f', 'b', { ...marks, 'stream-seq': '1' })).status).toBe(200)
    await post('f', 'c')
    expect((await get('f')).body).toBe('abc')
  })

  test('answers the same request with 200, and another one with 409', async () => {
    const { put, fork, code } = await start()
    await put('s', TEXT, 'ab')
    const seconds = { 'stream-ttl': '60' }
    expect((await fork('f', 's', seconds)).status).toBe(201)
    expect((await fork('f', 's', seconds)).status).toBe(200)
    expect(await code(fork('f', 's'))).toEqual([409, 'stream_conflict'])
    expect(await code(fork('f', 's', { ...seconds, 'stream-fork-offset': '-1' }))).toEqual([
      409,
      'stream_conflict',
    ])
    expect(await code(put('f', { ...TEXT, ...seconds }))).toEqual([409, 'stream_conflict'])
  })

  test.each<[string, Headers, number, string]>([
    ['of nothing', { 'stream-forked-from': '/v1/stream/none' }, 404, 'fork_source_not_found'],
    ['of no stream', { 'stream-forked-from': '/elsewhere' }, 404, 'fork_source_not_found'],
    ['of another type', { 'content-type': 'text/html' }, 409, 'stream_conflict'],
    ['at a malformed offset', { 'stream-fork-offset': 'x' }, 400, 'invalid_offset'],
    [
      'past the tail',
      { 'stream-fork-offset': '0000000000000000_0000000000000099' },
      400,
      'offset_beyond_tail',
    ],
    [
      'at an offset of another stream',
      { 'stream-fork-offset': '0000000000000003_0000000000000001' },
      400,
      'invalid_offset',
    ],
    ['at a negative sub-offset', { 'stream-fork-sub-offset': '-1' }, 400, 'invalid_fork'],
    ['past the tail by a sub-offset', { 'stream-fork-sub-offset': '1' }, 400, 'invalid_fork'],
  ])('%s is refused', async (_name, headers, status, expected) => {
    const { put, fork, code, get } = await start()
    await put('s', TEXT, 'ab')
    expect(await code(fork('f', 's', headers))).toEqual([status, expected])
    expect(await code(get('f'))).toEqual([404, 'stream_not_found'])
  })

  test('needs a source to have a fork point', async () => {
    const { put, code } = await start()
    const stray = { 'stream-fork-offset': '-1' }
    expect(await code(put('f', { ...TEXT, ...stray }))).toEqual([400, 'invalid_fork'])
  })
})

describe('a sub-offset', () => {
  test.each<[string, Headers, string, string, number, string | undefined]>([
    ['0 bytes', TEXT, 'abc', '0', 201, ''],
    ['some bytes', TEXT, 'abc', '2', 201, 'ab'],
    ['all bytes of the message', TEXT, 'abc', '3', 201, 'abc'],
    ['more than those', TEXT, 'abc', '4', 400, undefined],
    ['0 messages', JSON_TYPE, '[1,2,3]', '0', 201, '[]'],
    ['some messages', JSON_TYPE, '[1,2,3]', '2', 201, '[1,2]'],
    ['all messages', JSON_TYPE, '[1,2,3]', '3', 201, '[1,2,3]'],
    ['more than there are', JSON_TYPE, '[1,2,3]', '4', 400, undefined],
  ])('takes %s along', async (_name, type, body, subOffset, status, inherited) => {
    const { put, fork, get } = await start()
    await put('s', type, body)
    const point = { 'stream-fork-offset': '-1', 'stream-fork-sub-offset': subOffset }
    expect((await fork('f', 's', point)).status).toBe(status)
    if (inherited !== undefined) expect((await get('f')).body).toBe(inherited)
  })

  test('reaches into data that the source inherits', async () => {
    const { put, fork, post, get } = await start()
    await put('s', JSON_TYPE, '[1,2]')
    await fork('f', 's')
    await post('f', '[3,4]', JSON_TYPE)
    for (const count of [1, 2, 3, 4]) {
      const point = { 'stream-fork-offset': '-1', 'stream-fork-sub-offset': String(count) }
      await fork(`g${count}`, 'f', point)
      const wanted = JSON.stringify([1, 2, 3, 4].slice(0, count))
      expect((await get(`g${count}`)).body).toBe(wanted)
    }
  })
})

describe('the expiry of a fork', () => {
  const at = { 'stream-expires-at': '2100-01-01T00:00:00Z' }
  const later = { 'stream-expires-at': '2200-01-01T00:00:00Z' }
  const ttl = { 'stream-ttl': '100' }
  const longer = { 'stream-ttl': '200' }

  test.each<[Headers, Headers, Headers]>([
    [NONE, NONE, NONE],
    [NONE, ttl, ttl],
    [NONE, at, at],
    [ttl, NONE, ttl],
    [ttl, longer, longer],
    [ttl, at, at],
    [at, NONE, at],
    [at, ttl, ttl],
    [at, later, later],
  ])('source %j, request %j: %j', async (source, request, wanted) => {
    const { put, fork, gateway } = await start()
    await put('s', { ...TEXT, ...source })
    await fork('f', 's', request)
    const { headers } = await call(gateway.stream('f'), { method: 'HEAD' })
    expect([headers['stream-ttl'], headers['stream-expires-at']]).toEqual([
      wanted['stream-ttl'],
      wanted['stream-expires-at'],
    ])
    expect((await fork('f', 's', request)).status).toBe(200)
  })

  test('is its own: it outlives its source', async () => {
    const clock = new ManualClock()
    const { put, fork, get, code } = await start({ clock })
    await put('s', { ...TEXT, 'stream-ttl': '10' }, 'ab')
    await fork('f', 's', { 'stream-ttl': '100' })
    await clock.advanceAsync(20_000)
    expect(await code(get('s'))).toEqual([410, 'stream_gone'])
    expect(await code(put('s'))).toEqual([409, 'stream_retained'])
    expect((await get('f')).body).toBe('ab')
  })
})

describe('a deleted source', () => {
  test('is gone for its clients, kept for its forks, and goes with the last of them', async () => {
    const { put, fork, get, remove, code, gateway } = await start()
    const url = gateway.stream('s')
    await put('s', TEXT, 'ab')
    await fork('f', 's')
    await fork('g', 'f')
    expect((await remove('s')).status).toBe(204)
    expect((await remove('f')).status).toBe(204)
    for (const method of ['GET', 'DELETE']) {
      expect(await code(call(url, { method }))).toEqual([410, 'stream_gone'])
    }
    expect((await call(url, { method: 'HEAD' })).status).toBe(410)
    const post = call(url, { method: 'POST', headers: TEXT, body: 'x' })
    expect(await code(post)).toEqual([410, 'stream_gone'])
    expect(await code(put('s'))).toEqual([409, 'stream_retained'])
    expect(await code(fork('h', 's'))).toEqual([409, 'fork_source_gone'])
    expect((await get('g')).body).toBe('ab')
    expect((await remove('g')).status).toBe(204)
    await expect.poll(async () => (await get('f')).status).toBe(404)
    await expect.poll(async () => (await get('s')).status).toBe(404)
    expect((await put('s')).status).toBe(201)
    expect((await get('s')).body).toBe('')
  })

  test('ends the live reads of its own clients', async () => {
    const { put, fork, remove, gateway } = await start()
    await put('s', TEXT, 'ab')
    await fork('f', 's')
    const reader = await SseClient.open(`${gateway.stream('s')}?offset=-1&live=sse`)
    await reader.until(({ text }) => text === 'ab')
    await remove('s')
    await reader.ended()
    const again = await SseClient.open(`${gateway.stream('s')}?offset=-1&live=sse`)
    expect(again.status).toBe(410)
  })

  test('of which something was trimmed: 410, and never other data', async () => {
    const { put, fork, post, get, log, code, gateway } = await start()
    await put('s', TEXT, 'ab')
    const middle = await post('s', 'cd')
    await post('s', 'ef')
    const tailOffset = String(
      (await call(`${gateway.stream('s')}?offset=now`)).headers['stream-next-offset'],
    )
    await fork('f', 's')
    await post('f', 'gh')
    const tail = await log.checkTail('s')
    const before = Number(middle.slice(17))
    const last = await log.read('s', { seqNum: 0 }, { maxRecords: 1, maxBytes: 1000 })
    const token = last[0]?.kind === 'fence' ? last[0].token : ''
    await log.append('s', {
      records: [{ kind: 'trim', before }],
      matchSeqNum: tail,
      fencingToken: token,
    })
    const lost = `0000000000000000_${String(before - 1).padStart(16, '0')}`
    await expect.poll(() => code(get('f', `?offset=${lost}`))).toEqual([410, 'offset_gone'])
    expect(await code(get('f', `?offset=${lost}&live=long-poll`))).toEqual([410, 'offset_gone'])
    const refused = await get('f', `?offset=${lost}`)
    expect(refused.headers['stream-earliest-offset']).toBe(middle)
    expect((await get('f', `?offset=${middle}`)).body).toBe('efgh')
    expect((await get('f', `?offset=${tailOffset}`)).body).toBe('gh')
    const point = { 'stream-fork-offset': lost, 'stream-fork-sub-offset': '1' }
    expect(await code(fork('g', 's', point))).toEqual([410, 'offset_gone'])
  })
})

describe('live reads of a fork', () => {
  test('a long-poll answers at once with what is inherited, then waits for the fork', async () => {
    const { put, fork, post, get, gateway } = await start()
    await put('s', TEXT, 'ab')
    await fork('f', 's')
    const first = await get('f', '?offset=-1&live=long-poll')
    expect([first.status, first.body, first.headers['stream-up-to-date']]).toEqual([
      200,
      'ab',
      'true',
    ])
    const next = String(first.headers['stream-next-offset'])
    const waiting = get('f', `?offset=${next}&live=long-poll`)
    while (gateway.hubs.find('f')?.subscribers !== 1) await new Promise(setImmediate)
    await post('s', 'never')
    await post('f', 'cd')
    expect(await waiting).toMatchObject({ status: 200, body: 'cd' })
  })

  test('SSE delivers what is inherited, the own, and never what the source got later', async () => {
    const { put, fork, post, gateway } = await start()
    await put('s', JSON_TYPE, '[1]')
    await fork('f', 's')
    await post('f', '[2]', JSON_TYPE)
    const reader = await SseClient.open(`${gateway.stream('f')}?offset=-1&live=sse`)
    await reader.until(({ text }) => text === '[1][2]')
    await post('s', '["never"]', JSON_TYPE)
    await post('f', '[3]', JSON_TYPE)
    await reader.until(({ text }) => text === '[1][2][3]')
    const ids = reader.events.map(({ id }) => id)
    expect(ids).toEqual([...ids].sort())
    reader.leave()
    // From every event on, the rest.
    const after = reader.events.find(({ event }) => event === 'data')!.id
    const resumed = await SseClient.open(`${gateway.stream('f')}?offset=${after}&live=sse`)
    await resumed.until(({ text }) => text.replaceAll('][', ',') === '[2,3]')
    resumed.leave()
  })
})
