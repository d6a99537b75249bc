import { describe, expect, test } from 'vitest'
import { HostSlots } from '../../../src/subscriptions/host-slots.ts'

/** Lets every promise that can settle do so. */
const settle = () => new Promise((resolve) => setImmediate(resolve))

describe('HostSlots', () => {
  test('gives each host its slots, and lets the others wait in order', async () => {
    const slots = new HostSlots(2)
    const order: string[] = []
    const take = async (host: string, name: string) => {
      const release = await slots.acquire(host)
      order.push(name)
      return release
    }
    const [a1, a2, a3, a4, b1] = ['a1', 'a2', 'a3', 'a4', 'b1'].map((name) => take(name[0]!, name))
    await settle()
    expect(order).toEqual(['a1', 'a2', 'b1'])

    const release2 = await a2!
    release2()
    await settle()
    expect(order).toEqual(['a1', 'a2', 'b1', 'a3'])

    // Released twice, still one slot.
    release2()
    await settle()
    expect(order).toEqual(['a1', 'a2', 'b1', 'a3'])

    for (const held of [a1, a3, b1]) (await held!)()
    await settle()
    expect(order).toEqual(['a1', 'a2', 'b1', 'a3', 'a4'])
    expect(slots.size).toBe(1)
    ;(await a4!)()
    expect(slots.size).toBe(0)
  })

  test('lets nobody in before those who wait', async () => {
    const slots = new HostSlots(1)
    const order: string[] = []
    const first = await slots.acquire('a')
    const second = slots.acquire('a').then((release) => {
      order.push('second')
      return release
    })
    first()
    const third = slots.acquire('a').then(() => order.push('third'))
    await settle()
    expect(order).toEqual(['second'])
    ;(await second)()
    await third
    expect(order).toEqual(['second', 'third'])
  })

  test('starts anew with a host it has forgotten', async () => {
    const slots = new HostSlots(1)
    const old = await slots.acquire('a')
    old()
    await slots.acquire('a')
    old()
    expect(slots.size).toBe(1)
  })
})
