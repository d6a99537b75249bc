/** Writes with nothing wrong about them: only who asks keeps them from being done. */
import { STREAMS } from '../streams.ts'
import type { Random } from '../random.ts'

export type Write = {
  readonly method: string
  readonly path: string
  /** Lines without their end. */
  readonly fields: readonly string[]
  readonly body: string
}

const TEXT = 'Content-Type: text/plain'
const SUBSCRIPTION = '{"type":"pull-wake","pattern":"acme/none/*","wake_stream":"acme/empty"}'

const MAKES: readonly ((random: Random) => Write)[] = [
  (random) => ({ method: 'PUT', path: `acme/${random.bits()}`, fields: [TEXT], body: 'new' }),
  (random) => ({ method: 'PUT', path: `acme/${random.bits()}`, fields: [], body: '' }),
  (random) => ({
    method: 'PUT',
    path: `acme/${random.bits()}`,
    fields: [`Stream-Forked-From: /v1/stream/${random.pick(STREAMS).name}`],
    body: '',
  }),
  () => ({ method: 'POST', path: 'acme/a', fields: [TEXT], body: 'more' }),
  () => ({ method: 'POST', path: 'acme/public', fields: [TEXT], body: 'more' }),
  () => ({ method: 'POST', path: 'acme/ttl', fields: [TEXT], body: 'more' }),
  () => ({
    method: 'POST',
    path: 'acme/events',
    fields: ['Content-Type: application/json'],
    body: '{"n":3}',
  }),
  () => ({
    method: 'POST',
    path: 'acme/empty',
    fields: [TEXT, 'Producer-Id: p', 'Producer-Epoch: 0', 'Producer-Seq: 0'],
    body: 'claimed',
  }),
  (random) => ({
    method: 'POST',
    path: random.pick(STREAMS).name,
    fields: ['Stream-Closed: true'],
    body: '',
  }),
  (random) => ({ method: 'DELETE', path: random.pick(STREAMS).name, fields: [], body: '' }),
  (random) => ({
    method: 'PUT',
    path: `__ds/subscriptions/${random.bits()}`,
    fields: [],
    body: SUBSCRIPTION,
  }),
  () => ({ method: 'DELETE', path: '__ds/subscriptions/jobs', fields: [], body: '' }),
  () => ({
    method: 'POST',
    path: '__ds/subscriptions/jobs/streams',
    fields: [],
    body: '{"streams":["acme/a"]}',
  }),
  () => ({
    method: 'POST',
    path: '__ds/subscriptions/jobs/claim',
    fields: [],
    body: '{"worker":"me"}',
  }),
  () => ({
    method: 'POST',
    path: '__ds/tickets',
    fields: [],
    body: '{"stream":"acme/a","scope":"write"}',
  }),
]

export function temptingWrite(random: Random): Write {
  return random.pick(MAKES)(random)
}
