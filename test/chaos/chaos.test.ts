/**
 * Gateways, an s2-lite and the ways between them break while clients write and read; whatever
 * happens, the history is one that PROTOCOL.md allows. `README.md` here says how to use it.
 */
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { findS2Lite } from '../support/s2-lite.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { fullReport, report, summary } from './report.ts'
import { runSeed } from './run.ts'
import { chooseSeeds } from './seeds.ts'

/** A run takes some 12 s; the rest is for what gets stuck, so that it is reported. */
const TIMEOUT_MS = 180_000

describe.skipIf(findS2Lite() === undefined)('chaos', () => {
  for (const { seed, name } of chooseSeeds(process.env)) {
    test(`seed ${seed}: ${name}`, { timeout: TIMEOUT_MS }, async () => {
      const result = await runSeed(seed, await temporaryDirectory())
      process.stdout.write(`${summary(result)}\n`)
      const isAlone = process.env['SEED'] !== undefined && process.env['SEEDS'] === undefined
      const file = join(tmpdir(), `chaos-seed-${seed}.txt`)
      if (isAlone || result.violations.length > 0) await writeFile(file, fullReport(result))
      if (result.violations.length === 0) return
      expect.fail(`${report(result)}\nall of it: ${file}`)
    })
  }
})
