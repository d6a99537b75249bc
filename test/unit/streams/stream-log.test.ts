import { describe, expect, test } from 'vitest'
import { createCommand } from '../../../src/streams/create.ts'
import { StreamLog } from '../../../src/streams/stream-log.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { JSON_MODE, STREAM, bytes, memoryLog } from './builders.ts'

describe('StreamLog', () => {
  test('shows what was trimmed of an incarnation in the view of that one only', async () => {
    const options = { clock: new ManualClock(), commandTimeoutMs: 1000, gatewayId: 'g' }
    const stream = new StreamLog(STREAM, { log: await memoryLog(), ...options })
    await stream.execute(
      createCommand({ id: 'i2', config: JSON_MODE, body: bytes('[1]'), close: true }),
    )
    stream.noteEarliest('i1', 3)
    const state = await stream.refresh()
    expect(stream.view(state, { ...state.incarnation!, id: 'i2' }).start).toBe(2)
    expect(stream.view(state, { ...state.incarnation!, id: 'i1' }).start).toBe(3)
  })
})
