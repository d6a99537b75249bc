import { describe, expect, test } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../../src/errors.ts'
import { AppendPipeline } from '../../../src/log/append-pipeline.ts'
import type { AppendAck } from '../../../src/log/log.ts'

/** A pipeline whose appends come to what the test says, in any order. */
function pipelineUnderTest() {
  const heard: string[] = []
  const pipeline = new AppendPipeline((cause) => heard.push(`over: ${String(cause)}`))
  const begin = (name: number) => {
    let resolve: (ack: AppendAck) => void = () => {}
    let reject: (error: unknown) => void = () => {}
    const promise = new Promise<AppendAck>((onAck, onError) => {
      resolve = onAck
      reject = onError
    })
    pipeline
      .run(() => promise)
      .then(
        ({ start }) => heard.push(`${start} ok`),
        (error: unknown) =>
          heard.push(`${name} ${error instanceof Error ? error.constructor.name : 'no error'}`),
      )
    return { ok: () => resolve({ start: name, end: name + 1, timestamp: 0 }), fail: reject }
  }
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  return { pipeline, heard, begin, turn }
}

const UNKNOWN = AppendOutcomeUnknownError.name
const UNAVAILABLE = LogUnavailableError.name

describe('the pipeline of a session', () => {
  test('answers in the order of the calls', async () => {
    const { heard, begin, turn } = pipelineUnderTest()
    const appends = [begin(0), begin(1), begin(2)]
    appends[2]?.ok()
    await turn()
    expect(heard).toEqual([])
    appends[0]?.ok()
    await turn()
    expect(heard).toEqual(['0 ok'])
    appends[1]?.ok()
    await turn()
    expect(heard).toEqual(['0 ok', '1 ok', '2 ok'])
  })

  test('gives the oldest failure its reason, and leaves those behind it open', async () => {
    const { pipeline, heard, begin, turn } = pipelineUnderTest()
    const appends = [begin(0), begin(1), begin(2), begin(3)]
    appends[2]?.fail(new LogUnavailableError())
    appends[3]?.ok()
    await turn()
    expect(pipeline.isOpen).toBe(false)
    expect(heard).toEqual([])
    begin(4)
    await turn()
    expect(heard).toEqual([`4 ${UNKNOWN}`])
    appends[0]?.ok()
    appends[1]?.ok()
    await turn()
    expect(heard.slice(1)).toEqual([
      expect.stringMatching(/^over: .*the log is unavailable/),
      '0 ok',
      '1 ok',
      `2 ${UNAVAILABLE}`,
      `3 ${UNKNOWN}`,
    ])
  })

  test('leaves open what was under way when it ends, and ends once', async () => {
    const { pipeline, heard, begin, turn } = pipelineUnderTest()
    const appends = [begin(0), begin(1)]
    pipeline.end('closed')
    pipeline.end('again')
    appends[0]?.ok()
    appends[1]?.fail(new LogUnavailableError())
    await turn()
    expect(heard).toEqual(['over: closed', `0 ${UNKNOWN}`, `1 ${UNKNOWN}`])
  })

  test('takes nothing more once one is going to fail', async () => {
    const { pipeline, heard, begin, turn } = pipelineUnderTest()
    const first = begin(0)
    pipeline.refuse()
    begin(1)
    await turn()
    first.ok()
    await turn()
    expect(heard).toEqual([`1 ${UNKNOWN}`, '0 ok'])
  })
})
