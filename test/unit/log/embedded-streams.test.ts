import { describe, expect, it } from 'vitest'
import { GroupCommit } from '../../../src/log/embedded-commit.ts'
import { MemoryStore } from '../../../src/log/embedded-memory-store.ts'
import { EMPTY_STREAM } from '../../../src/log/embedded-state.ts'
import { OpenStream } from '../../../src/log/embedded-stream.ts'
import { StreamTable } from '../../../src/log/embedded-streams.ts'

/** A table over streams that exist, which notes what it is asked to load and create. */
function tableOf(maxIdle: number, exists: (name: string) => boolean = () => true) {
  const store = new MemoryStore()
  const context = { store, commits: new GroupCommit(store), now: () => 0 }
  const asked: string[] = []
  const open = (name: string) => new OpenStream(name, { id: 0, state: EMPTY_STREAM }, context)
  const table = new StreamTable(
    {
      load: (name) => {
        asked.push(`load ${name}`)
        return Promise.resolve(exists(name) ? open(name) : undefined)
      },
      create: (name) => {
        asked.push(`create ${name}`)
        return Promise.resolve(open(name))
      },
    },
    maxIdle,
  )
  const touch = (name: string) => table.use(name, (stream) => Promise.resolve(stream))
  return { table, asked, touch }
}

describe('StreamTable', () => {
  it('opens a stream once for all who use it at the same time', async () => {
    const { asked, touch } = tableOf(10)
    const [first, second] = await Promise.all([touch('a'), touch('a')])
    expect(first).toBe(second)
    expect(await touch('a')).toBe(first)
    expect(asked).toEqual(['load a'])
  })

  it('forgets the stream that was idle the longest', async () => {
    const { asked, touch } = tableOf(2)
    for (const name of ['a', 'b', 'a', 'c', 'a', 'b']) await touch(name)
    expect(asked).toEqual(['load a', 'load b', 'load c', 'load b'])
  })

  it('never forgets a stream in use', async () => {
    const { table, asked, touch } = tableOf(1)
    let finish = (): void => {}
    const inUse = table.use('a', () => new Promise<void>((resolve) => (finish = resolve)))
    for (const name of ['b', 'c', 'd']) await touch(name)
    await touch('a')
    finish()
    await inUse
    expect(asked).toEqual(['load a', 'load b', 'load c', 'load d'])
  })

  it('remembers nothing of streams that are missing', async () => {
    const { asked, touch } = tableOf(10, () => false)
    expect(await touch('a')).toBeUndefined()
    expect(await touch('a')).toBeUndefined()
    expect(asked).toEqual(['load a', 'load a'])
  })

  it('creates a missing stream once', async () => {
    const { table, asked, touch } = tableOf(10, () => false)
    await Promise.all([table.create('a'), touch('a'), table.create('a')])
    await table.create('a')
    expect(await touch('a')).toBeDefined()
    expect(asked).toEqual(['load a', 'create a'])
  })

  it('asks again after a failure', async () => {
    let isBroken = true
    const { touch } = tableOf(10, () => {
      if (isBroken) throw new Error('EIO')
      return true
    })
    await expect(touch('a')).rejects.toThrow('EIO')
    isBroken = false
    expect(await touch('a')).toBeDefined()
  })
})
