import { expect, test } from 'vitest'
import type { Grant } from '../../../src/auth/grant.ts'
import { VerifiedCredentials } from '../../../src/auth/verified.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { outcome } from './world.ts'

function known({
  maxEntries = 10,
  isCurrent = () => true,
}: { maxEntries?: number; isCurrent?: () => boolean } = {}) {
  const clock = new ManualClock()
  const credentials = new VerifiedCredentials({ maxEntries, clock, isCurrent })
  const grant = (keyId: string): Grant => ({
    subject: undefined,
    project: undefined,
    scope: 'read',
    streams: undefined,
    expiresAt: clock.now() + 1000,
    keyId,
  })
  const get = (credential: string, keyId = 'k') =>
    credentials.get(credential, () => {
      const verified = grant(keyId)
      return Promise.resolve({ grant: verified, until: verified.expiresAt })
    })
  return { clock, credentials, get }
}

test('at most so many are remembered, and those asked for last', async () => {
  const { credentials, get } = known({ maxEntries: 3 })
  for (const credential of ['a', 'b', 'c']) await get(credential)
  await get('a')
  await get('d')
  expect(credentials.size).toBe(3)
  expect(['a', 'b', 'c', 'd'].map((credential) => get(credential) instanceof Promise)).toEqual([
    false,
    true,
    false,
    false,
  ])
})

test('one that has ended is forgotten', async () => {
  const { clock, credentials, get } = known()
  await get('a')
  clock.advance(1000)
  expect(await outcome(() => get('a'))).toBe('token_expired')
  expect(credentials.size).toBe(0)
})

test('what a key has signed is forgotten with it, and nothing else', async () => {
  const { credentials, get } = known()
  await Promise.all([get('a', 'k1'), get('b', 'k2'), get('c', 'k1')])
  credentials.forgetKey('k1')
  expect(credentials.size).toBe(1)
  expect(get('b')).toMatchObject({ keyId: 'k2' })
})

test('what a key has signed that left meanwhile is refused, and not remembered', async () => {
  let isCurrent = true
  const { credentials, get } = known({ isCurrent: () => isCurrent })
  const verifying = outcome(() => get('a'))
  isCurrent = false
  expect([await verifying, credentials.size]).toEqual(['invalid_token', 0])
})

test('a failure is not remembered', async () => {
  const { credentials, get } = known()
  const failing = credentials.get('a', () => Promise.reject(new Error('x')))
  await expect(failing).rejects.toThrow('x')
  expect(await get('a')).toMatchObject({ keyId: 'k' })
})
