/** The rules: well-formed, explained, and each alert seen firing and seen quiet. */
import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { PROMETHEUS, promtool } from './prometheus.ts'
import { readDashboard } from './dashboard.ts'
import { isMissing } from '../support/programs.ts'
import { RULES, RUNBOOK, UNIT_TESTS, readRules, readUnitTests } from './rule-file.ts'

const { alerts, recordings, groups } = await readRules()
const names = alerts.map(({ alert }) => alert)
const { files, orders, firing, quiet } = await readUnitTests()

/** GitHub's anchor of a heading of one word. */
const anchorOf = (alert: string): string => alert.toLowerCase()

describe.skipIf(isMissing(PROMETHEUS))('promtool', () => {
  it('finds nothing wrong with the rules', async () => {
    const said = await promtool(['check', 'rules', RULES], UNIT_TESTS)
    expect(said).toContain(`SUCCESS: ${alerts.length + recordings.length} rules found`)
  })

  it.concurrent.each(files)('sees alerts fire and stay quiet as in %s', async (file) => {
    expect(await promtool(['test', 'rules', file], UNIT_TESTS)).toContain('SUCCESS')
  })
})

it('unit tests have all groups in order: in another one, alerts see what was recorded before', () => {
  expect(orders).toEqual(files.map(() => groups))
})

describe('every alert', () => {
  it('has a name of its own', () => {
    expect(new Set(names).size).toBe(names.length)
  })

  it('is seen firing by a unit test', () => {
    expect([...firing].sort()).toEqual(names.toSorted())
  })

  it('is seen quiet by a unit test', () => {
    expect([...quiet].sort()).toEqual(names.toSorted())
  })

  it.each(alerts)('$alert has its section in the runbook', async ({ alert, annotations }) => {
    expect(annotations.runbook).toBe(`helm/rules/README.md#${anchorOf(alert)}`)
    const sections = (await readFile(RUNBOOK, 'utf8')).split(/^### /m).slice(1)
    const section = sections.find((text) => text.startsWith(`${alert}\n`))
    for (const part of ['**Means.**', '**Look.**', '**Do.**']) expect(section).toContain(part)
  })

  it.each(alerts)('$alert says who it is about', ({ annotations: { description, summary } }) => {
    expect(description).toMatch(/\{\{ \$labels\.job \}\}/)
    expect(summary).not.toMatch(/\{\{/)
  })
})

it('the runbook names panels by their titles', async () => {
  const { panels } = await readDashboard()
  const titles = new Set(panels.map(({ title }) => title))
  const text = await readFile(RUNBOOK, 'utf8')
  const named = [...text.matchAll(/`([A-Z][a-z]+[ ,][^`]+)`/g)].map(([, name = '']) => name)
  expect(named.length).toBeGreaterThan(30)
  expect(named.filter((name) => !titles.has(name))).toEqual([])
})

it('the runbook has no section without an alert', async () => {
  const headings = [...(await readFile(RUNBOOK, 'utf8')).matchAll(/^### (.*)$/gm)]
  expect(headings.map(([, heading]) => heading).sort()).toEqual(names.toSorted())
})
