/** A directory of the test's own under the system's, gone with everything in it afterwards. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** Call it inside a test. What uses the directory must have ended before the test has. */
export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'ds-gateway-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}
