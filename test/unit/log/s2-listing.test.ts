import { expect, test } from 'vitest'
import { listNames, type ListInput, type ListPage } from '../../../src/log/s2-listing.ts'

/** S2's answers, one after the other: names, with a `-` before those under deletion. */
function answering(pages: readonly (readonly string[])[]) {
  const asked: ListInput[] = []
  const list = (input: ListInput): Promise<ListPage> => {
    const page = pages[asked.length] ?? []
    asked.push(input)
    const entries = page.map((entry) => ({
      name: entry.replace(/^-/, ''),
      deletedAt: entry.startsWith('-') ? new Date(1) : null,
    }))
    return Promise.resolve({ entries, hasMore: asked.length < pages.length })
  }
  return { list, asked }
}

test('a page is without the streams under deletion', async () => {
  const { list, asked } = answering([['-a', 'b', '-c', 'd', '-e'], ['f']])
  expect(await listNames(list, '', '')).toEqual(['b', 'd'])
  expect(asked).toEqual([{ prefix: '', startAfter: '', limit: 1000 }])
})

test('a page of nothing but streams under deletion is passed over', async () => {
  const { list, asked } = answering([['-pa', '-pb'], ['-pc'], ['-pd', 'pe'], ['pf']])
  expect(await listNames(list, 'p', 'p0')).toEqual(['pe'])
  expect(asked.map(({ startAfter }) => startAfter)).toEqual(['p0', 'pb', 'pc'])
  expect(asked.map(({ prefix }) => prefix)).toEqual(['p', 'p', 'p'])
})

test.each([
  { what: 'nothing', pages: [[]] },
  { what: 'nothing but streams under deletion', pages: [['-a'], ['-b']] },
  { what: 'nothing, and the promise of more', pages: [[], ['a']] },
])('$what is the end', async ({ pages }) => {
  expect(await listNames(answering(pages).list, '', '')).toEqual([])
})

test.each([
  { startAfter: '', isSent: false },
  { startAfter: 'o', isSent: false },
  { startAfter: 'p\uffef', isSent: false },
  { startAfter: 'p🦊', isSent: true },
  { startAfter: 'q', isSent: true },
])('a start at "$startAfter" is sent: $isSent', async ({ startAfter, isSent }) => {
  const { list, asked } = answering([[]])
  await listNames(list, 'p🦊', startAfter)
  expect(asked[0]?.startAfter).toBe(isSent ? startAfter : undefined)
})

test('what goes wrong is not hidden', async () => {
  const failing = () => Promise.reject(new Error('no'))
  await expect(listNames(failing, '', '')).rejects.toThrow('no')
})
