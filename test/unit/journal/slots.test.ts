import { expect, test } from 'vitest'
import { Slots } from '../../../src/journal/slots.ts'

test('gives out as many slots as there are, and then in turn', async () => {
  const slots = new Slots(2)
  const order: number[] = []
  const leave: (() => void)[] = []
  const all = [0, 1, 2, 3].map(async (n) => {
    leave[n] = await slots.take()
    order.push(n)
  })
  await Promise.all(all.slice(0, 2))
  expect(order).toEqual([0, 1])
  leave[1]!()
  await all[2]
  expect(order).toEqual([0, 1, 2])
  leave[0]!()
  await all[3]
  leave[2]!()
  leave[3]!()
  await Promise.all([slots.take(), slots.take()])
  expect(order).toEqual([0, 1, 2, 3])
})
