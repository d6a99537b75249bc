import { Map, Set } from 'immutable'
import { describe, expect, test } from 'vitest'
import type { Mark, Member } from '../../../src/subscriptions/directory-state.ts'
import { Silences } from '../../../src/subscriptions/silences.ts'
import { NOW } from './builders.ts'

const LIMITS = { takeoverMs: 1000, idleMs: 60_000 }
const BUSY: readonly Mark[] = ['stream:a']

type Seen = readonly [id: string, seen: number, marks?: readonly Mark[]]
const gateways = (...all: readonly Seen[]) =>
  Map(all.map(([id, seen, marks = []]): [string, Member] => [id, { seen, marks: Set(marks) }]))

describe('Silences', () => {
  test.each([
    ['with something in hand', BUSY, LIMITS.takeoverMs],
    ['with nothing in hand', [], LIMITS.idleMs],
  ])('are over for a gateway %s after its time', (_name, marks, ms) => {
    const silences = new Silences(LIMITS)
    const here = gateways(['g1', 7, marks])
    expect(silences.over(here, NOW)).toEqual([])
    expect(silences.over(here, NOW + ms - 1)).toEqual([])
    expect(silences.over(here, NOW + ms)).toEqual([{ id: 'g1', seen: 7 }])
    // Until somebody has taken over what it had in hand.
    expect(silences.over(here, NOW + ms + 1)).toEqual([{ id: 'g1', seen: 7 }])
  })

  test('count from when a record is first seen here, however old it is', () => {
    const silences = new Silences(LIMITS)
    silences.over(gateways(['g1', 7, BUSY]), NOW)
    const late = gateways(['g1', 7, BUSY], ['g2', 1, BUSY])
    expect(silences.over(late, NOW + 900)).toEqual([])
    expect(silences.over(late, NOW + 1000)).toEqual([{ id: 'g1', seen: 7 }])
    expect(silences.over(late, NOW + 1900)).toEqual([
      { id: 'g1', seen: 7 },
      { id: 'g2', seen: 1 },
    ])
  })

  test('begin anew with every record', () => {
    const silences = new Silences(LIMITS)
    silences.over(gateways(['g1', 7, BUSY]), NOW)
    const written = gateways(['g1', 8, BUSY])
    expect(silences.over(written, NOW + 1000)).toEqual([])
    expect(silences.over(written, NOW + 1999)).toEqual([])
    expect(silences.over(written, NOW + 2000)).toEqual([{ id: 'g1', seen: 8 }])
  })

  test('are forgotten with the gateway that has left', () => {
    const silences = new Silences(LIMITS)
    const here = gateways(['g1', 7, BUSY])
    silences.over(here, NOW)
    expect(silences.over(gateways(), NOW + 500)).toEqual([])
    expect(silences.over(here, NOW + 1000)).toEqual([])
    expect(silences.over(here, NOW + 2000)).toEqual([{ id: 'g1', seen: 7 }])
  })

  test('are none when there is nobody', () => {
    expect(new Silences(LIMITS).over(gateways(), NOW)).toEqual([])
  })
})
