import { describe, expect, test } from 'vitest'
import { Sender } from '../../../src/journal/sender.ts'
import type { AppendBatch, AppendSession, DurableLog } from '../../../src/log/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const batch: AppendBatch = { records: [], matchSeqNum: 0, fencingToken: '' }
const ack = { start: 0, end: 1, timestamp: 0 }

/** A log that tells how batches came to it. */
function recorded() {
  const came: string[] = []
  const sessions: { isOpen: boolean }[] = []
  const openAppendSession = (): AppendSession => {
    const name = `session ${sessions.length}`
    const session = {
      isOpen: true,
      append: () => {
        came.push(name)
        return Promise.resolve(ack)
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
  test('appends one by one while there are few, and in a session when there are many', () => {
    const { sender, clock, came } = recorded()
    for (let n = 0; n < 4; n += 1) {
      void sender.send(batch, 'any')
      clock.advance(400)
    }
    expect(came).toEqual(['unary', 'unary', 'unary', 'unary'])
    for (let n = 0; n < 4; n += 1) {
      void sender.send(batch, 'any')
      clock.advance(100)
    }
    expect(came.slice(4)).toEqual(['unary', 'session 0', 'session 0', 'session 0'])
    expect(sender.isPipelined).toBe(true)
  })

  test('opens a session at once for what must be pipelined, and leaves it for what must not', () => {
    const { sender, came, sessions } = recorded()
    void sender.send(batch, 'session')
    expect([came, sender.isPipelined]).toEqual([['session 0'], true])
    void sender.send(batch, 'unary')
    expect([came[1], sender.isPipelined, sessions[0]?.isOpen]).toEqual(['unary', false, false])
  })

  test('replaces a session that is over', () => {
    const { sender, came, sessions } = recorded()
    void sender.send(batch, 'session')
    sessions[0]!.isOpen = false
    expect(sender.isPipelined).toBe(false)
    void sender.send(batch, 'session')
    expect(came).toEqual(['session 0', 'session 1'])
  })

  test('lets go of a session that nobody has used for 5 s, and of no other', () => {
    const { sender, clock, sessions } = recorded()
    void sender.send(batch, 'session')
    clock.advance(3000)
    void sender.send(batch, 'session')
    clock.advance(4999)
    expect(sessions[0]?.isOpen).toBe(true)
    clock.advance(1)
    expect([sessions[0]?.isOpen, sender.isPipelined, clock.timers]).toEqual([false, false, 0])
  })
})
