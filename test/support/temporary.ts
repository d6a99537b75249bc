/** A directory of the test's own under the system's, gone with everything in it afterwards. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { CleanUps } from './clean-ups.ts'

/**
 * It goes with the running test, or with the suite whose `cleanUps` are given. What uses it must
 * have ended before.
 */
export async function temporaryDirectory(cleanUps?: CleanUps): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'ds-gateway-'))
  const remove = (): Promise<void> => rm(path, { recursive: true, force: true })
  if (cleanUps === undefined) onTestFinished(remove)
  else cleanUps.add(remove)
  return path
}
