import { describe, expect, test } from 'vitest'
import { renderMetadata } from '../../../src/http/render.ts'
import { viewOf } from '../../../src/streams/view.ts'
import type { StreamView } from '../../../src/streams/view.ts'
import { TEXT, created } from '../streams/builders.ts'

/** A stream that was just created. */
function view(config: Partial<typeof TEXT> = {}): StreamView {
  const state = created({ ...TEXT, ...config })
  return viewOf('s', state, state.incarnation!)
}

describe('renderMetadata (PROTOCOL §5.5)', () => {
  test('says that a stream is public, and of a private one nothing', () => {
    expect(renderMetadata(view({ isPublic: true })).headers['Stream-Public']).toBe('true')
    expect(renderMetadata(view()).headers).not.toHaveProperty('Stream-Public')
  })
})
