import { expect, test } from 'vitest'
import { Lease, Sightings } from '../../../src/journal/lease.ts'
import type { Lock } from '../../../src/journal/lock.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const LEASE_MS = 5000
const LOCK: Lock = { id: 'a-1', owner: 'a', begin: 5, openToken: 'o:i1' }

function leases() {
  const clock = new ManualClock()
  const sightings = new Sightings()
  return { clock, open: () => new Lease(clock, LEASE_MS, sightings) }
}

test('a group is waited for from when it was seen first, also by a log that is opened anew', () => {
  const { clock, open } = leases()
  expect(open().left(LOCK)).toBe(LEASE_MS)
  for (let waited = 1000; waited <= LEASE_MS; waited += 1000) {
    clock.advance(1000)
    const lease = open()
    // Opening reads what there is of the group again.
    for (const batch of [0, 1]) lease.saw(`${LOCK.id}.${batch}`)
    if (waited === 1000) expect(lease.left(LOCK)).toBe(LEASE_MS)
    else expect(lease.left(LOCK)).toBe(LEASE_MS - (waited - 1000))
  }
})

test('each further batch of the group prolongs it, and no others', () => {
  const { clock, open } = leases()
  const lease = open()
  lease.left(LOCK)
  clock.advance(4000)
  for (const operation of ['a-2.7', 'a-1', 'b-1.0', '']) lease.saw(operation)
  expect(lease.left(LOCK)).toBe(1000)
  lease.saw('a-1.3')
  expect(lease.left(LOCK)).toBe(LEASE_MS)
  clock.advance(4000)
  lease.saw('a-1.2')
  expect(lease.left(LOCK)).toBe(1000)
})

test('nobody waits for longer because the clock was set back', () => {
  const { clock, open } = leases()
  const lease = open()
  lease.left(LOCK)
  clock.set(clock.now() - 3_600_000)
  expect(lease.left(LOCK)).toBe(LEASE_MS)
})
