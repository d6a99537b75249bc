/** The rules that are shipped, and promtool's unit tests of them. */
import { readFile, readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { z } from 'zod'

const FOLDER = new URL('../../helm/rules/', import.meta.url)

export const RULES = fileURLToPath(new URL('durable-streams-gateway.yaml', FOLDER))
export const RUNBOOK = new URL('README.md', FOLDER)

/** Where the unit tests are; promtool runs there. */
export const UNIT_TESTS = fileURLToPath(new URL('rules/', import.meta.url))

const Recording = z.strictObject({ record: z.string(), expr: z.string() })

const Alert = z.strictObject({
  alert: z.string(),
  expr: z.string(),
  for: z.string().optional(),
  labels: z.strictObject({ severity: z.enum(['critical', 'warning', 'info']) }),
  annotations: z.strictObject({
    summary: z.string(),
    description: z.string(),
    runbook: z.string(),
  }),
})

const RuleFile = z.strictObject({
  groups: z.array(
    z.strictObject({ name: z.string(), rules: z.array(z.union([Recording, Alert])) }),
  ),
})

const UnitTests = z.object({
  group_eval_order: z.array(z.string()).default([]),
  tests: z.array(
    z.object({
      alert_rule_test: z
        .array(z.object({ alertname: z.string(), exp_alerts: z.array(z.unknown()).optional() }))
        .default([]),
    }),
  ),
})

export type Recording = z.infer<typeof Recording>
export type Alert = z.infer<typeof Alert>

/** @throws ZodError when a rule has not what each should have, or more */
export async function readRules(): Promise<{
  readonly recordings: readonly Recording[]
  readonly alerts: readonly Alert[]
  /** The names of their groups, in the order of the file. */
  readonly groups: readonly string[]
}> {
  const { groups } = RuleFile.parse(parse(await readFile(RULES, 'utf8')))
  const rules = groups.flatMap((group) => group.rules)
  return {
    recordings: rules.filter((rule) => 'record' in rule),
    alerts: rules.filter((rule) => 'alert' in rule),
    groups: groups.map(({ name }) => name),
  }
}

/**
 * The names of the files with unit tests, which alerts they see fire and see quiet, and in which
 * order each has groups evaluated.
 */
export async function readUnitTests(): Promise<{
  readonly files: readonly string[]
  readonly orders: readonly (readonly string[])[]
  readonly firing: ReadonlySet<string>
  readonly quiet: ReadonlySet<string>
}> {
  const files = (await readdir(UNIT_TESTS)).filter((name) => name.endsWith('.yaml')).sort()
  const texts = await Promise.all(files.map((name) => readFile(`${UNIT_TESTS}${name}`, 'utf8')))
  const parsed = texts.map((text) => UnitTests.parse(parse(text)))
  const cases = parsed.flatMap(({ tests }) => tests).flatMap((test) => test.alert_rule_test)
  const namesOf = (fires: boolean) =>
    new Set(
      cases
        .filter(({ exp_alerts: expected = [] }) => expected.length > 0 === fires)
        .map(({ alertname }) => alertname),
    )
  const orders = parsed.map((file) => file.group_eval_order)
  return { files, orders, firing: namesOf(true), quiet: namesOf(false) }
}
