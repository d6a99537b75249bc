/** The dashboard as Grafana would take it: its panels, and the queries it would send. */
import { readFile } from 'node:fs/promises'
import { z } from 'zod'

const FILE = new URL('../../helm/dashboards/durable-streams-gateway.json', import.meta.url)

const Datasource = z.object({ type: z.string(), uid: z.string() })

const Threshold = z.object({ color: z.string(), value: z.number().nullable() })

const Panel = z.object({
  id: z.number(),
  type: z.string(),
  title: z.string(),
  gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
})

const Row = Panel.extend({
  type: z.literal('row'),
  collapsed: z.literal(false),
  panels: z.tuple([]),
})

const Target = z.object({
  refId: z.string(),
  datasource: Datasource,
  expr: z.string(),
  legendFormat: z.string(),
})

const Chart = Panel.extend({
  type: z.enum(['timeseries', 'stat', 'heatmap', 'table']),
  description: z.string(),
  datasource: Datasource,
  targets: z.array(Target).min(1),
  fieldConfig: z.object({
    defaults: z.object({
      unit: z.string().optional(),
      thresholds: z.object({ mode: z.literal('absolute'), steps: z.array(Threshold) }).optional(),
    }),
  }),
  options: z.object({ yAxis: z.object({ unit: z.string() }).optional() }),
})

const Variable = z.object({
  name: z.string(),
  type: z.enum(['datasource', 'query']),
  allValue: z.string().optional(),
  definition: z.string().optional(),
  query: z.union([z.string(), z.object({ query: z.string() })]),
})

const Annotation = z.object({ name: z.string(), expr: z.string().optional() })

const Dashboard = z.object({
  uid: z.string(),
  id: z.null(),
  title: z.string(),
  schemaVersion: z.number(),
  panels: z.array(z.union([Row, Chart])),
  templating: z.object({ list: z.array(Variable) }),
  annotations: z.object({ list: z.array(Annotation) }),
})

export type Dashboard = z.infer<typeof Dashboard>
export type Panel = Dashboard['panels'][number]
export type Chart = z.infer<typeof Chart>

/** @throws ZodError when it is not as Grafana 10 and 11 have it, as far as we use that */
export async function readDashboard(): Promise<Dashboard> {
  return Dashboard.parse(JSON.parse(await readFile(FILE, 'utf8')))
}

export function isChart(panel: Panel): panel is Chart {
  return panel.type !== 'row'
}

/** What a user has chosen, one value or several; what is not there is `All`. */
export type Choice = Readonly<Record<string, string | readonly string[]>>

const VARIABLES: readonly string[] = ['namespace', 'job', 'pod', 'instance']
const ALL = '.*'

/**
 * A query as Grafana sends it: with values for variables, escaped as it does for a regular
 * expression in a string of PromQL, and with a window for rates.
 *
 * @throws Error when a variable is left over
 */
export function interpolate(expr: string, choice: Choice, rateInterval: string): string {
  return expr.replaceAll(/\$([a-z_]\w*)/gi, (text, name: string) => {
    if (name === '__rate_interval') return rateInterval
    if (!VARIABLES.includes(name)) throw new Error(`${text} in ${expr} is no variable`)
    const value = choice[name]
    if (value === undefined) return ALL
    return typeof value === 'string' ? escaped(value) : `(${value.map(escaped).join('|')})`
  })
}

/** A query and where it is from. */
export type Query = { readonly from: string; readonly expr: string }

/** Every query of every panel. */
export function panelQueries({ panels }: Dashboard): readonly Query[] {
  return panels
    .filter(isChart)
    .flatMap(({ title, targets }) =>
      targets.map(({ refId, expr }) => ({ from: `${title} ${refId}`, expr })),
    )
}

/** The queries that mark times in all panels. */
export function annotationQueries({ annotations }: Dashboard): readonly Query[] {
  return annotations.list.flatMap(({ name, expr }) =>
    expr === undefined ? [] : [{ from: name, expr }],
  )
}

/** The variables that ask for the values of a label: `label_values(<match>, <label>)`. */
export function labelQueries({ templating }: Dashboard) {
  return templating.list.flatMap(({ name, definition }) => {
    const [, match, label] = /^label_values\((.*), (\w+)\)$/.exec(definition ?? '') ?? []
    return match === undefined || label === undefined ? [] : [{ name, match, label }]
  })
}

/** For a regular expression, and that for a string. */
function escaped(value: string): string {
  return value.replaceAll(/[$()*+.?[\\\]^{|}]/g, '\\\\$&')
}
