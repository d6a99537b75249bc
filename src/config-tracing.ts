/**
 * Whether the environment asks for traces: a part of config.ts.
 *
 * The variables are OpenTelemetry's, whose SDK reads them by itself, with more that are not looked
 * at here. It passes over what it does not understand: what is said here says it before.
 *
 * https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
import { listOf } from './config-values.ts'

/** Variables that are set, by their names. */
type Environment = Readonly<Record<string, string | undefined>>

const ENDPOINTS = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT']
const PROTOCOLS = ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL']

/** What each may say; of those in the plural several, separated by commas. */
const CHOICES: readonly (readonly [name: string, choices: readonly string[], several?: true])[] = [
  ['OTEL_TRACES_EXPORTER', ['otlp', 'zipkin', 'console', 'none'], true],
  ...PROTOCOLS.map((name) => [name, ['http/protobuf', 'http/json', 'grpc']] as const),
  ['OTEL_PROPAGATORS', ['tracecontext', 'baggage', 'b3', 'b3multi', 'jaeger', 'none'], true],
  [
    'OTEL_TRACES_SAMPLER',
    [
      'always_on',
      'always_off',
      'traceidratio',
      'parentbased_always_on',
      'parentbased_always_off',
      'parentbased_traceidratio',
    ],
  ],
]

/** Whether there is somewhere to send traces to. */
export function isTracingOn(environment: Environment): boolean {
  const { OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER } = environment
  if (OTEL_SDK_DISABLED?.trim().toLowerCase() === 'true') return false
  if (OTEL_TRACES_EXPORTER !== undefined) return OTEL_TRACES_EXPORTER.trim() !== 'none'
  return ENDPOINTS.some((name) => environment[name] !== undefined)
}

/** What would have the SDK do something else than what was meant. Where it is off, nobody cares. */
export function* tracingProblems(environment: Environment): Generator<string> {
  if (!isTracingOn(environment)) return
  for (const [name, choices, several] of CHOICES) {
    const value = environment[name]
    if (value === undefined) continue
    // As the SDK reads them: of one alone it drops no spaces.
    const given = several === true ? listOf(value) : [value]
    const isKnown = given.length > 0 && given.every((choice) => choices.includes(choice))
    // With others beside it the SDK takes `none` for something else.
    if (!isKnown || (given.includes('none') && given.length > 1)) {
      yield `${name} must be ${several === true ? 'some' : 'one'} of ${choices.join(', ')}`
    }
  }
  yield* endpointProblems(environment)
  yield* samplerProblems(environment)
}

function* endpointProblems(environment: Environment): Generator<string> {
  const isGrpc = PROTOCOLS.map((name) => environment[name]).find(Boolean) === 'grpc'
  for (const name of ENDPOINTS) {
    const value = environment[name]?.trim()
    if (value === undefined) continue
    if (isGrpc) {
      // A name and a port will do; what can't be read as either would throw.
      const url = /^\w{1,8}:\/\//.test(value) ? value : `https://${value}`
      if (!URL.canParse(url)) yield `${name} must be an address of a collector`
    } else if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
      yield `${name} must be an http(s) URL`
    }
  }
}

function* samplerProblems({
  OTEL_TRACES_SAMPLER: sampler,
  OTEL_TRACES_SAMPLER_ARG: given,
}: Environment): Generator<string> {
  if (sampler?.endsWith('traceidratio') !== true || given === undefined) return
  // Nothing but spaces would be all of them.
  const ratio = given.trim() === '' ? NaN : Number(given)
  if (!(ratio >= 0 && ratio <= 1)) yield 'OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1'
}
