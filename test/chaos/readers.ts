/** Clients that read, each in one mode, from one offset to the next, on any gateway. */
import type { Client } from './client.ts'
import type { Offset } from './history.ts'
import { read } from './requests.ts'
import { follow, isGone } from './sse-reader.ts'

/** Reads all of the stream, over and over. */
export async function catchUp(client: Client): Promise<void> {
  while (!client.world.isOver()) {
    for (let from = '-1'; !client.world.isOver();) {
      const { outcome } = await read(client, { mode: 'page', from })
      if (isGone(outcome)) break
      if (outcome.kind !== 'ok') {
        await client.pause(20, 120)
        continue
      }
      from = outcome.next
      if (outcome.upToDate) break
    }
    await client.pause(50, 200)
  }
}

/** Looks at the tail in every way, and reads on from where it was. */
export async function tail(client: Client): Promise<void> {
  let last: Offset = '-1'
  while (!client.world.isFinishing()) {
    const mode = client.random.pick(['head', 'now', 'page', 'page'] as const)
    const from = mode === 'page' ? last : 'now'
    const { outcome } = await read(client, { mode, from })
    if (outcome.kind === 'ok') last = outcome.next
    if (isGone(outcome)) last = '-1'
    await client.pause(5, 80)
  }
}

/** Waits for what comes next. */
export async function longPoll(client: Client): Promise<void> {
  let from: Offset = '-1'
  let cursor: string | undefined
  while (!client.world.isOver()) {
    const operation = await read(client, { mode: 'long-poll', from, cursor })
    const { outcome } = operation
    if (outcome.kind === 'ok') {
      from = outcome.next
      cursor = operation.cursor
      // The end: only a new incarnation has more, and it begins elsewhere.
      if (outcome.closed) await client.pause(50, 200)
      continue
    }
    if (isGone(outcome)) from = '-1'
    await client.pause(20, 120)
  }
}

/** Follows, and after every cut goes on from the last offset, anywhere. */
export async function sse(client: Client): Promise<void> {
  let from: Offset = client.random.pick(['-1', 'now'])
  while (!client.world.isOver()) {
    from = (await follow(client, from)) ?? '-1'
    if (!client.world.isOver()) await client.pause(5, 120)
  }
}
