import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { JwksEndpoint } from '../../../src/auth/jwks-endpoint.ts'
import { KeyRing, KeySourceError } from '../../../src/auth/key-ring.ts'
import { keySetFile, keySetUrl, pemFile } from '../../../src/auth/key-source.ts'
import type { KeySource } from '../../../src/auth/key-source.ts'
import { COOLDOWN_MS } from '../../../src/auth/key-watch.ts'
import { startJwksServer } from '../../support/jwks-server.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { temporaryDirectory } from '../../support/temporary.ts'
import { keySetOf, makeKey, pemOf } from '../../support/tokens.ts'
import type { TestKey } from '../../support/tokens.ts'

const [a, b, c] = [makeKey('ES256', 'a'), makeKey('ES256', 'b'), makeKey('EdDSA', 'c')]
const MINUTE_MS = 60_000

async function open(...sources: KeySource[]) {
  const clock = new ManualClock()
  const problems: string[] = []
  const withdrawn: string[] = []
  const onProblem = (what: string, error: unknown): void => {
    problems.push(`${what}: ${error instanceof Error ? error.message : String(error)}`)
  }
  const ring = await KeyRing.open({ keys: [], sources, clock, onProblem })
  onTestFinished(() => ring.close())
  ring.onKeyWithdrawn((id) => withdrawn.push(id))
  return { ring, clock, problems, withdrawn }
}
type World = Awaited<ReturnType<typeof open>>

const kids = (ring: KeyRing): (string | undefined)[] =>
  ['ES256', 'EdDSA'].flatMap((alg) => ring.candidates(alg, undefined).map(({ kid }) => kid))

/** Lets the poll that is due next happen, until what it is for can be seen. */
async function nextPoll({ clock }: World, isSeen: () => boolean): Promise<void> {
  await clock.fireNext()
  await expect.poll(isSeen, { interval: 2 }).toBe(true)
}

describe('keys in files', () => {
  test('come from PEM files and JWK sets', async () => {
    const directory = await temporaryDirectory()
    await writeFile(join(directory, 'a.pem'), pemOf(a))
    await writeFile(join(directory, 'set.json'), await keySetOf(b, c))
    const { ring } = await open(
      pemFile(join(directory, 'a.pem')),
      keySetFile(join(directory, 'set.json')),
    )
    expect(kids(ring)).toEqual([undefined, 'b', 'c'])
  })

  test.each([
    ['is not there', undefined, /ENOENT/],
    ['is no JWK set', '{}', /no JWK set/],
    ['has a key that is too weak', '{"keys":[{"kty":"oct","k":"AA"}]}', /at least 32 bytes/],
    ['is too large', ' '.repeat(513 * 1024), /over 524288 bytes/],
  ])('one that %s stops the start', async (_name, content, reason) => {
    const path = join(await temporaryDirectory(), 'set.json')
    if (content !== undefined) await writeFile(path, content)
    const opening = open(keySetFile(path))
    await expect(opening).rejects.toBeInstanceOf(KeySourceError)
    await expect(opening).rejects.toThrow(reason)
    await expect(opening).rejects.toThrow(path)
  })

  test('all that is wrong is said at once', async () => {
    await expect(open(pemFile('/nowhere/a.pem'), keySetFile('/nowhere/b.json'))).rejects.toThrow(
      /a\.pem.*\n.*b\.json/,
    )
  })

  test('a file that changes is read again, and keys that left it are announced', async () => {
    const path = join(await temporaryDirectory(), 'set.json')
    await writeFile(path, await keySetOf(a, c))
    const world = await open(keySetFile(path))
    const [first] = world.ring.candidates('ES256', 'a')
    await writeFile(path, await keySetOf(b, c))
    await nextPoll(world, () => kids(world.ring).includes('b'))
    expect(kids(world.ring)).toEqual(['b', 'c'])
    expect(world.withdrawn).toEqual([first?.id])
    expect(world.ring.has(first?.id ?? '')).toBe(false)
  })

  test('a symbolic link above it that is swapped is a change', async () => {
    // What the kubelet does: set.json -> ..data/set.json, ..data -> ..2024/, then ..data is renamed.
    const directory = await temporaryDirectory()
    const at = (...path: string[]) => join(directory, ...path)
    await Promise.all([mkdir(at('..one')), mkdir(at('..two'))])
    await writeFile(at('..one', 'set.json'), await keySetOf(a))
    await writeFile(at('..two', 'set.json'), await keySetOf(b))
    await symlink('..one', at('..data'))
    await symlink(join('..data', 'set.json'), at('set.json'))
    const world = await open(keySetFile(at('set.json')))
    expect(kids(world.ring)).toEqual(['a'])
    await symlink('..two', at('..data_tmp'))
    await rename(at('..data_tmp'), at('..data'))
    await rm(at('..one'), { recursive: true })
    await nextPoll(world, () => kids(world.ring).includes('b'))
    expect(kids(world.ring)).toEqual(['b'])
  })

  test.each([
    ['vanishes', (path: string) => rm(path), /ENOENT/],
    ['is half written', (path: string) => writeFile(path, '{"keys":[{'), /no JWK set/],
  ])('a file that %s keeps its keys, and that is told once', async (_name, spoil, reason) => {
    const path = join(await temporaryDirectory(), 'set.json')
    await writeFile(path, await keySetOf(a))
    const world = await open(keySetFile(path))
    await spoil(path)
    await nextPoll(world, () => world.problems.length > 0)
    // Each look arms the next one when it is over.
    for (const _look of [1, 2]) await world.clock.fireNext()
    await world.clock.untilTimers(1)
    expect(kids(world.ring)).toEqual(['a'])
    expect(world.withdrawn).toEqual([])
    expect(world.problems).toEqual([expect.stringMatching(reason)])
    await writeFile(path, await keySetOf(b))
    await nextPoll(world, () => kids(world.ring).includes('b'))
  })

  test('a key that another source still has is not withdrawn', async () => {
    const directory = await temporaryDirectory()
    const [one, two] = [join(directory, 'one.json'), join(directory, 'two.json')]
    await writeFile(one, await keySetOf(a, b))
    await writeFile(two, await keySetOf(a))
    const world = await open(keySetFile(one), keySetFile(two))
    await writeFile(one, await keySetOf(b))
    await world.clock.advanceAsync(5000)
    await world.clock.untilTimers(2)
    expect([kids(world.ring), world.withdrawn]).toEqual([['b', 'a'], []])
  })
})

describe('keys of an issuer', () => {
  const issuer = async (...keys: readonly TestKey[]) => {
    const server = await startJwksServer(...keys)
    const world = await openUrl(server.url)
    return { ...world, server }
  }
  /** The endpoint keeps real time only where a test says so. */
  const openUrl = async (url: string, clock = new ManualClock()): Promise<World> =>
    open(keySetUrl(new JwksEndpoint(url, clock)))

  test('are there when we have started', async () => {
    const { ring, server } = await issuer(a, c)
    expect([kids(ring), ring.isComplete, server.requests()]).toEqual([['a', 'c'], true, 1])
  })

  test('are asked for again now and then', async () => {
    const world = await issuer(a)
    expect(world.clock.nextTimerMs).toBeLessThanOrEqual(5 * MINUTE_MS)
    await world.server.publish(b)
    await nextPoll(world, () => kids(world.ring).includes('b'))
    expect(world.withdrawn).toHaveLength(1)
  })

  test('an empty set withdraws them all', async () => {
    const world = await issuer(a, b)
    await world.server.publish()
    await nextPoll(world, () => kids(world.ring).length === 0)
    expect(world.withdrawn).toHaveLength(2)
  })

  test('are asked for once per cool-down, however many ask', async () => {
    const { ring, clock, server } = await issuer(a)
    await Promise.all(Array.from({ length: 100 }, () => ring.refresh()))
    expect(server.requests()).toBe(1)
    clock.stall(COOLDOWN_MS)
    await Promise.all(Array.from({ length: 100 }, () => ring.refresh()))
    await ring.refresh()
    expect(server.requests()).toBe(2)
  })

  test.each<[string, Parameters<Awaited<ReturnType<typeof startJwksServer>>['answer']>[0], RegExp]>(
    [
      ['fails', (_request, response) => response.writeHead(500).end(), /HTTP 500/],
      ['says nonsense', (_request, response) => response.end('<html>'), /no JWK set/],
      ['hangs up', (request) => request.socket.destroy(), /UND_ERR_SOCKET|ECONNRESET/],
      [
        'says too much',
        (_request, response) => response.end(' '.repeat(600 * 1024)),
        /UND_ERR_RES_EXCEEDED_MAX_SIZE/,
      ],
      [
        'sends us elsewhere',
        (_request, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
        /HTTP 302/,
      ],
    ],
  )('stay when it %s', async (_name, answer, reason) => {
    const world = await issuer(a)
    world.server.answer(answer)
    await nextPoll(world, () => world.problems.length > 0)
    expect(world.problems).toEqual([expect.stringMatching(reason)])
    expect([kids(world.ring), world.withdrawn]).toEqual([['a'], []])
    // It is tried again sooner than usual, and the same outage is not told again.
    expect(world.clock.nextTimerMs).toBeLessThanOrEqual(1000)
    const before = world.server.requests()
    await nextPoll(world, () => world.server.requests() > before)
    await world.clock.untilTimers(1)
    expect(world.problems).toHaveLength(1)
    await world.server.publish(b)
    await nextPoll(world, () => kids(world.ring).includes('b'))
  })

  test('one that does not answer is left after a time', async () => {
    const world = await issuer(a)
    const clock = new ManualClock()
    world.server.answer(() => undefined)
    const endpoint = new JwksEndpoint(world.server.url, clock)
    onTestFinished(() => endpoint.close())
    const fetching = endpoint.fetch()
    clock.advance(5000)
    await expect(fetching).rejects.toThrow('no whole answer within 5000 ms')
  })

  test('one that is out of reach at the start holds up nothing', async () => {
    const server = await startJwksServer()
    server.answer((request) => request.socket.destroy())
    const world = await openUrl(server.url)
    expect([world.ring.isComplete, world.problems.length]).toEqual([false, 1])
    await server.publish(a)
    await nextPoll(world, () => world.ring.isComplete)
    expect(kids(world.ring)).toEqual(['a'])
  })

  test('secrets among them count for nothing, and weak ones are left out', async () => {
    const server = await startJwksServer()
    const k = Buffer.alloc(32, 'x').toString('base64url')
    const weak = { kty: 'RSA', n: 'A'.repeat(171), e: 'AQAB' }
    const { keys } = JSON.parse(await keySetOf(a)) as { keys: object[] }
    server.answer((_request, response) =>
      response.end(JSON.stringify({ keys: [{ kty: 'oct', alg: 'HS256', k }, weak, ...keys] })),
    )
    const { ring, problems } = await openUrl(server.url)
    expect([kids(ring), ring.candidates('HS256', undefined)]).toEqual([['a'], []])
    expect(problems).toEqual([expect.stringMatching(/key 2 of the set/)])
  })

  test('closing breaks off what is under way, and looks no more', async () => {
    const world = await issuer(a)
    world.server.answer(() => undefined)
    world.clock.stall(COOLDOWN_MS)
    const refreshing = world.ring.refresh()
    await expect.poll(() => world.server.requests(), { interval: 2 }).toBe(2)
    await world.ring.close()
    await refreshing
    expect([world.clock.timers, world.problems]).toEqual([0, []])
  })
})
