/** What is told of batches that a hub gives to its readers: once for all of them. */
import type { Tracing } from './tracing.ts'

/** Data on its way to all who follow a stream. */
type Delivery = {
  readonly stream: string
  readonly records: readonly { readonly body: Uint8Array; readonly traceparent?: string }[]
  readonly readers: number
}

/** Ends it: the data is written to the connections of those who had room for it. */
type Delivered = () => void

/** More are not told of: as many links has a span of OpenTelemetry by default. */
const MAX_LINKS = 128

/** Tells of each delivery, with links to what has appended its data. */
export function tellDeliveries(tracing: Tracing): (delivery: Delivery) => Delivered | undefined {
  return ({ stream, records, readers }) => {
    const traceparents = new Set<string>()
    let bytes = 0
    for (const { body, traceparent } of records) {
      bytes += body.length
      if (traceparent !== undefined) traceparents.add(traceparent)
    }
    if (traceparents.size === 0) return undefined
    const span = tracing.delivery([...traceparents].slice(0, MAX_LINKS), {
      'durable_streams.stream': stream,
      'durable_streams.records': records.length,
      'durable_streams.bytes': bytes,
      'durable_streams.readers': readers,
    })
    return span && (() => span.end())
  }
}
