import { describe, expect, test } from 'vitest'
import { Sender } from '../../../src/journal/sender.ts'
import type { AppendBatch, AppendSession, DurableLog } from '../../../src/log/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const batch: AppendBatch = { records: [], matchSeqNum: 0, fencingToken: '' }
const ack = { start: 0, end: 1, timestamp: 0 }

/** A log that tells how batches came to it. */
function recorded(answer = () => Promise.resolve(ack)) {
  const came: string[] = []
  const sessions: { isOpen: boolean }[] = []
  const openAppendSession = (): AppendSession => {
    const name = `session ${sessions.length}`
    const session = {
      isOpen: true,
      append: () => {
        came.push(name)
        return answer()
      },
      close: () => {
        session.isOpen = false
      },
    }
    sessions.push(session)
    return session
  }
  const append = () => {
    came.push('unary')
    return Promise.resolve(ack)
  }
  const clock = new ManualClock()
  const log = { append, openAppendSession } as unknown as DurableLog
  return { sender: new Sender(log, 'stream', clock), clock, came, sessions }
}

describe('Sender', () => {
  test('sends alone what nothing follows, and in one session what belongs together', () => {
    const { sender, came } = recorded()
    void sender.sendAlone(batch)
    expect([came, sender.isOpen]).toEqual([['unary'], false])
    void sender.sendInSession(batch)
    void sender.sendInSession(batch)
    expect([came, sender.isOpen]).toEqual([['unary', 'session 0', 'session 0'], true])
  })

  test('replaces a session that is over', () => {
    const { sender, came, sessions } = recorded()
    void sender.sendInSession(batch)
    sessions[0]!.isOpen = false
    expect(sender.isOpen).toBe(false)
    void sender.sendInSession(batch)
    expect(came).toEqual(['session 0', 'session 1'])
  })

  test('lets go of a session that nobody has used for 5 s, and of no other', async () => {
    const { sender, clock, sessions } = recorded()
    void sender.sendInSession(batch)
    await clock.advanceAsync(3000)
    void sender.sendInSession(batch)
    await clock.advanceAsync(4999)
    expect(sessions[0]?.isOpen).toBe(true)
    await clock.advanceAsync(1)
    expect([sessions[0]?.isOpen, sender.isOpen, clock.timers]).toEqual([false, false, 0])
  })

  test('keeps a session while an append is under way in it', async () => {
    let answer = (): void => undefined
    const pending = new Promise<typeof ack>((resolve) => {
      answer = () => resolve(ack)
    })
    const { sender, clock, sessions } = recorded(() => pending)
    void sender.sendInSession(batch)
    await clock.advanceAsync(60_000)
    expect(sessions[0]?.isOpen).toBe(true)
    answer()
    await clock.advanceAsync(10_000)
    expect(sessions[0]?.isOpen).toBe(false)
  })
})
