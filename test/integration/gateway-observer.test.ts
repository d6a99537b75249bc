/** What an observer of a gateway hears: the calls to the log, its sessions, the hubs. */
import { expect, onTestFinished, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { startGateway } from '../support/gateway.ts'
import { appendJson, createJsonStream, SseReader } from '../support/http-calls.ts'
import { RecordingObserver } from '../support/recording-observer.ts'

test('an observer hears of the calls to the log and of the hubs', async () => {
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  const observer = new RecordingObserver()
  const phases: string[] = []
  const gateway = await startGateway({
    log,
    observer: { log: observer, onHubTransition: ({ to }) => phases.push(to.phase) },
  })
  onTestFinished(async () => {
    await gateway.shutdown()
    await log.close()
  })
  const url = gateway.stream('a')
  await createJsonStream(url)
  const reader = await SseReader.open(url)
  await appendJson(url, ['x', 'y'])
  await expect.poll(() => reader.messages).toEqual(['x', 'y'])
  expect(await (await fetch(`${gateway.url}/readyz`)).text()).not.toBe('')
  reader.leave()
  await gateway.shutdown()

  expect(observer.outcomes).toContain('ping ok')
  expect(observer.outcomes.filter((outcome) => /append ok$/.test(outcome)).length).toBeGreaterThan(
    1,
  )
  expect(observer.readSessions.opened).toBeGreaterThan(0)
  expect(observer.readSessions.ends).toHaveLength(observer.readSessions.opened)
  expect(observer.appendSessions.ends).toHaveLength(observer.appendSessions.opened)
  expect(observer.delivered.records).toBeGreaterThan(1)
  expect([phases[0], phases.at(-1)]).toEqual(['live', 'stopped'])
})
