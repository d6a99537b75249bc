/** All that is sent on one connection, and how: made of a seed and a number, and of nothing else. */
import { endingOf } from './endings.ts'
import type { Ending } from './endings.ts'
import { Random } from './random.ts'
import type { Weighted } from './random.ts'
import { soundRequest } from './requests.ts'
import type { Arms, Request } from './requests.ts'

/** All at once; cut anywhere into packets of their own; or each when the last one is answered. */
export type Pace = 'together' | 'cut' | 'one by one'

export type Conversation = {
  readonly seed: number
  readonly number: number
  readonly requests: readonly Request[]
  readonly ending: Ending | undefined
  /** What is written at a time. */
  readonly writes: readonly Buffer[]
  readonly pace: Pace
}

const PACES: Weighted<Pace> = [
  [12, 'together'],
  [2, 'cut'],
  [1, 'one by one'],
]

/** Short ones cost more time, long ones find out who has lost count. */
function lengthOf(random: Random): number {
  return random.chance(0.25) ? random.below(4) : random.between(15, 80)
}

export function makeConversation(seed: number, number: number, arms: Arms): Conversation {
  const random = new Random(seed, number)
  const pace = random.weighted(PACES)
  const length = pace === 'together' ? lengthOf(random) : random.between(1, 12)
  const requests = Array.from({ length }, () => soundRequest(random, arms))
  const ending = requests.length === 0 || random.chance(0.6) ? endingOf(random, arms) : undefined
  const texts = [
    ...requests.map(({ text }) => text),
    ...(ending === undefined ? [] : [ending.text]),
  ]
  const writes = pace === 'one by one' ? texts : pieces(texts.join(''), pace, random)
  const conversation = { seed, number, requests, ending, pace }
  return { ...conversation, writes: writes.map((text) => Buffer.from(text, 'latin1')) }
}

function pieces(text: string, pace: Pace, random: Random): readonly string[] {
  if (pace === 'together') return [text]
  const cuts = Array.from({ length: random.between(1, 30) }, () => random.below(text.length + 1))
  const ordered = [0, ...cuts.sort((a, b) => a - b), text.length]
  return ordered.slice(1).map((cut, at) => text.slice(ordered[at], cut))
}
