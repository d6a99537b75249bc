import { expect, test } from 'vitest'
import { tellDeliveries } from '../../../src/tracing/deliveries.ts'
import { RecordingTracing } from '../../support/recording-tracing.ts'

const body = Buffer.from('abc')
const named = (index: number) =>
  `00-${String(index).padStart(32, '1')}-${String(index).padStart(16, '1')}-01`

function start() {
  const tracing = new RecordingTracing()
  return { tracing, tell: tellDeliveries(tracing) }
}

test('a delivery is one span, linked to each append that its data is of', () => {
  const { tracing, tell } = start()
  const records = [{ body, traceparent: named(1) }, { body }, { body, traceparent: named(2) }]
  const end = tell({ stream: 's', records, readers: 1000 })
  expect(tracing.spans).toHaveLength(1)
  expect(tracing.spans[0]).toMatchObject({
    name: 'deliver',
    links: [named(1), named(2)],
    noted: {
      'durable_streams.stream': 's',
      'durable_streams.records': 3,
      'durable_streams.bytes': 9,
      'durable_streams.readers': 1000,
    },
    isOver: false,
  })
  end?.()
  expect(tracing.spans[0]?.isOver).toBe(true)
})

test('data of no trace is delivered without a word', () => {
  const { tracing, tell } = start()
  expect(tell({ stream: 's', records: [{ body }], readers: 1 })).toBeUndefined()
  expect(tracing.spans).toEqual([])
})

test('one append is linked to once, and of very many not all are', () => {
  const { tracing, tell } = start()
  tell({
    stream: 's',
    records: [named(1), named(1)].map((traceparent) => ({ body, traceparent })),
    readers: 1,
  })
  expect(tracing.spans[0]?.links).toEqual([named(1)])
  const many = Array.from({ length: 1000 }, (_, index) => ({ body, traceparent: named(index + 1) }))
  tell({ stream: 's', records: many, readers: 1 })
  expect(tracing.spans[1]?.links).toHaveLength(128)
})
