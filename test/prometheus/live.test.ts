/**
 * A real Prometheus scrapes real gateways under load: every query of the dashboard has an answer,
 * every rule can be evaluated, and what alerts look for is there.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { isMissing } from '../support/programs.ts'
import {
  annotationQueries,
  interpolate,
  labelQueries,
  panelQueries,
  readDashboard,
} from './dashboard.ts'
import type { Choice, Query } from './dashboard.ts'
import { Load } from './load.ts'
import { PROMETHEUS, startPrometheus } from './prometheus.ts'
import type { Prometheus, Sample } from './prometheus.ts'
import { RULES, readRules } from './rule-file.ts'
import { startSite } from './site.ts'
import type { Site } from './site.ts'

/** What Grafana would choose: some scrapes. */
const RATE_INTERVAL = '5s'

/** A panel needs some seconds of load; the rest is for a busy machine. */
const PATIENCE_MS = 60_000
const POLL_MS = 250

/** Of what goes wrong, and does not here: a line at 0. */
const CALM: ReadonlySet<string> = new Set([
  'Alerts firing A',
  'Hubs that lost their session A',
  'Calls that failed A',
  'Lost connections A',
  'Append sessions B',
  'Readers still to be sent away A',
  "Fetches of the issuer's keys A",
])

const dashboard = await readDashboard()
const { alerts, recordings } = await readRules()
const cleanUps = new CleanUps()
let site: Site
let load: Load
let prometheus: Prometheus

const isFinite = ({ value: [, text] }: Sample): boolean => Number.isFinite(Number(text))
const isPositive = (sample: Sample): boolean => isFinite(sample) && Number(sample.value[1]) > 0

type Judge = (samples: readonly Sample[], query: Query) => boolean

/** Asks again until none is left whose answer is not as wanted, or time is up; tells those. */
async function unmet(queries: readonly Query[], isMet: Judge): Promise<readonly Query[]> {
  const deadline = Date.now() + PATIENCE_MS
  for (let left = queries; ;) {
    const answers = await Promise.all(left.map(({ expr }) => prometheus.query(expr)))
    left = left.filter((query, at) => !isMet(answers[at] ?? [], query))
    if (left.length === 0 || Date.now() > deadline) return left
    await sleep(POLL_MS)
  }
}

const chosen = (queries: readonly Query[], choice: Choice = {}): readonly Query[] =>
  queries.map(({ from, expr }) => ({ from, expr: interpolate(expr, choice, RATE_INTERVAL) }))

/** Names of series in a rule, with the matchers that follow them. */
const SELECTORS = /\b((?:durable_streams|process|nodejs)_\w+|namespace_job:[\w:]+)(\{[^}]*\})?/g

/** What rules select, each once. Of others' metrics there are none here. */
function selectorsOf(rules: readonly { readonly expr: string }[]): readonly Query[] {
  const texts = rules.flatMap(({ expr }) => [...expr.matchAll(SELECTORS)].map(([text]) => text))
  return [...new Set(texts)].map((text) => ({ from: text, expr: text }))
}

describe.skipIf(isMissing(PROMETHEUS))('Prometheus and gateways under load', () => {
  beforeAll(async () => {
    site = await startSite(cleanUps)
    prometheus = await startPrometheus({ targets: site.targets, rules: RULES, cleanUps })
    load = await Load.start(site, cleanUps)
  }, PATIENCE_MS)
  afterAll(() => cleanUps.run())

  it('every query of every panel returns data, and not only zeros', async () => {
    const isMet: Judge = (samples, { from }) => samples.some(CALM.has(from) ? isFinite : isPositive)
    expect(await unmet(chosen(panelQueries(dashboard)), isMet)).toEqual([])
  })

  it('every query of annotations is one', async () => {
    expect(await unmet(chosen(annotationQueries(dashboard)), () => true)).toEqual([])
  })

  it('variables offer what there is', async () => {
    const offered = labelQueries(dashboard).map(async ({ name, match, label }) => [
      name,
      [...(await prometheus.labelValues(label, interpolate(match, {}, RATE_INTERVAL)))].sort(),
    ])
    const { guarded, full, open } = site
    expect(Object.fromEntries(await Promise.all(offered))).toEqual({
      namespace: ['streams'],
      job: ['full', 'guarded', 'kubernetes'],
      pod: ['open-0'],
      instance: [guarded.metrics, full.metrics, open.metrics].sort(),
    })
  })

  it.each<[string, () => Choice, number]>([
    ['all', () => ({}), 3],
    ['a job', () => ({ job: 'guarded' }), 1],
    ['two jobs', () => ({ job: ['guarded', 'full'] }), 2],
    ['a pod', () => ({ namespace: 'streams', pod: 'open-0' }), 1],
    ['an instance', () => ({ instance: site.full.metrics }), 1],
    ['nobody', () => ({ namespace: 'other' }), 0],
  ])('with %s chosen, it is about those', async (_name, choice, count) => {
    const query = panelQueries(dashboard).find(({ from }) => from === 'Uptime A')!
    const isMet: Judge = (samples) => samples.length === count
    expect(await unmet(chosen([query], choice()), isMet)).toEqual([])
  })

  it('every rule is evaluated, and every recording has data', async () => {
    const queries = recordings.map(({ record }) => ({ from: record, expr: record }))
    expect(await unmet(queries, (samples) => samples.some(isFinite))).toEqual([])
    const rules = await prometheus.rules()
    expect(rules).toHaveLength(alerts.length + recordings.length)
    expect(rules.filter(({ health, lastError }) => health !== 'ok' || lastError)).toEqual([])
  })

  it('everything that rules select is there, for a counter from 0 on', async () => {
    const selectors = selectorsOf([...alerts, ...recordings])
    expect(selectors.length).toBeGreaterThan(40)
    expect(await unmet(selectors, (samples) => samples.length > 0)).toEqual([])
  })

  it('clients got what they should', () => {
    expect(load.failures).toEqual([])
  })

  it('a gateway that is gone is about to be an alert, and the others are none', async () => {
    site.open.kill('SIGKILL')
    const pending = { from: 'ALERTS', expr: 'ALERTS{alertname="DurableStreamsGatewayDown"}' }
    expect(await unmet([pending], (samples) => samples.length > 0)).toEqual([])
    const down = (await prometheus.alerts()).filter(
      ({ labels: { alertname } }) => alertname === 'DurableStreamsGatewayDown',
    )
    expect(down.map(({ labels: { job }, state }) => [job, state])).toEqual([
      ['kubernetes', 'pending'],
    ])
  })
})
