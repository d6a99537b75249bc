import { describe, expect, test } from 'vitest'
import { ProjectRule, gatewayBasin } from '../../../src/protocol/project.ts'

/** S2's rule for the name of a basin, as its SDK has it. */
const BASIN = /^[a-z0-9][a-z0-9-]{6,46}[a-z0-9]$/

describe('ProjectRule', () => {
  test.each([
    ['acme-', 'mobile', true],
    ['acme-', 'abc', true],
    ['acme-', 'ab', false],
    ['acme-', 'x'.repeat(43), true],
    ['acme-', 'x'.repeat(44), false],
    ['a', '1234567', true],
    ['a', '123456', false],
    ['x'.repeat(40), '1', true],
    ['acme-', 'a-b--c', true],
    ['acme-', '-mobile', false],
    ['acme-', 'mobile-', false],
    ['acme-', 'Mobile', false],
    ['acme-', 'mo_bile', false],
    ['acme-', 'möbile', false],
    ['acme-', 'mobile\n', false],
    ['acme-', '__ds', false],
    ['acme-', '', false],
    [undefined, 'a', true],
    [undefined, 'x'.repeat(47), true],
    [undefined, 'x'.repeat(48), false],
    [undefined, '-', false],
  ])('with the prefix %s: may %j be a project? %s', (prefix, text, allowed) => {
    expect(new ProjectRule(prefix).allows(text)).toBe(allowed)
  })

  test.each(['a', 'acme-', 'a--', 'x'.repeat(40)])('a project of %s is a basin', (prefix) => {
    const rule = new ProjectRule(prefix)
    const lengths = Array.from({ length: 60 }, (_, length) => length)
    const projects = lengths.map((length) => 'p'.repeat(length)).filter((text) => rule.allows(text))
    expect(projects.length).toBeGreaterThan(0)
    for (const project of projects) expect(prefix + project).toMatch(BASIN)
  })
})

test.each(['a', 'acme-', 'x'.repeat(40)])(
  'no project has the basin that is ours, by %s',
  (prefix) => {
    expect(gatewayBasin(prefix)).toMatch(BASIN)
    const project = gatewayBasin(prefix).slice(prefix.length)
    expect(new ProjectRule(prefix).allows(project)).toBe(false)
    expect(new ProjectRule().allows(project)).toBe(false)
  },
)
