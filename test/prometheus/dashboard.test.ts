/** The dashboard as a file: tidy, and of the form that Grafana takes. */
import { describe, expect, it } from 'vitest'
import { interpolate, isChart, labelQueries, panelQueries, readDashboard } from './dashboard.ts'
import type { Panel } from './dashboard.ts'

const dashboard = await readDashboard()
const charts = dashboard.panels.filter(isChart)

/** Of Grafana's grid: the panel's width and place are in these. */
const COLUMNS = 24

/** The order of the steps in which trouble is looked for. */
const ROWS = [
  'Overview',
  'Fan-out',
  'Latency',
  'Hubs',
  'S2 operations',
  'Cost',
  'Appends',
  'Errors',
  'Saturation',
  'Subscriptions',
  'Auth',
  'Process',
]

const overlaps = ({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean =>
  a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h

describe('the dashboard', () => {
  it('is one for Grafana 10 and later', () => {
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(38)
    expect(dashboard.uid).toMatch(/^[\w-]{1,40}$/)
  })

  it('has a row for each question', () => {
    expect(dashboard.panels.filter((panel) => !isChart(panel)).map(({ title }) => title)).toEqual(
      ROWS,
    )
  })

  it('gives each panel an id and a title of its own', () => {
    for (const key of ['id', 'title'] as const) {
      const values = charts.map((chart) => chart[key])
      expect(values.filter((value, at) => values.indexOf(value) !== at)).toEqual([])
    }
    const ids = dashboard.panels.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
  })

  it('has its panels on the grid, none over another, in the order of the file', () => {
    const { panels } = dashboard
    const outside = panels.filter(({ gridPos: { x, w } }) => x < 0 || w < 1 || x + w > COLUMNS)
    const over = panels.flatMap((panel, at) =>
      panels
        .slice(at + 1)
        .filter((other) => overlaps(panel, other))
        .map((other) => `${panel.title} / ${other.title}`),
    )
    const places = panels.map(({ gridPos: { x, y } }) => y * COLUMNS + x)
    expect(outside).toEqual([])
    expect(over).toEqual([])
    expect(places).toEqual(places.toSorted((a, b) => a - b))
  })

  it('leaves the choice of the data source to who looks', () => {
    const sources = charts.flatMap(({ datasource, targets }) => [
      datasource,
      ...targets.map((target) => target.datasource),
    ])
    for (const source of sources) {
      expect(source).toEqual({ type: 'prometheus', uid: '${datasource}' })
    }
    expect(dashboard.templating.list[0]).toMatchObject({ name: 'datasource', type: 'datasource' })
  })

  it('lets choose namespace, job, pod and instance, or all, with or without such a label', () => {
    expect(labelQueries(dashboard).map(({ name }) => name)).toEqual([
      'namespace',
      'job',
      'pod',
      'instance',
    ])
    for (const { allValue } of dashboard.templating.list.slice(1)) expect(allValue).toBe('.*')
  })
})

describe.each(charts)('the panel $title', (chart) => {
  it('says what is normal or what it shows, and in which unit', () => {
    expect(chart.description.length).toBeGreaterThan(60)
    expect(chart.fieldConfig.defaults.unit ?? chart.options.yAxis?.unit).toMatch(/^\w+$/)
  })

  it('has thresholds that rise', () => {
    const values = chart.fieldConfig.defaults.thresholds?.steps.map(({ value }) => value) ?? [null]
    expect(values[0]).toBeNull()
    const rest = values.slice(1).map(Number)
    expect(rest).toEqual(rest.toSorted((a, b) => a - b))
  })

  it('tells its queries apart', () => {
    const { targets } = chart
    expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length)
    const legends = targets.map(({ legendFormat }) => legendFormat)
    if (chart.type !== 'table') expect(legends).not.toContain('')
    expect(new Set(legends).size).toBe(targets.length)
  })
})

it.each(panelQueries(dashboard))('$from asks only for what was chosen', ({ expr }) => {
  const selectors = [...expr.matchAll(/\b(?:durable_streams|process|nodejs)_\w+(\{[^}]*\})?/g)]
  const open = selectors.filter(
    ([name, matchers = '']) =>
      name !== 'durable_streams_build_info' &&
      !/namespace=~"\$namespace", job=~"\$job", pod=~"\$pod", instance=~"\$instance"/.test(
        matchers,
      ),
  )
  expect(open.map(([text]) => text)).toEqual([])
  expect(interpolate(expr, { job: 'a.b' }, '5s')).not.toContain('$__')
})
