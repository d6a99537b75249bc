import { describe, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.ts'

const ENDPOINT = 'OTEL_EXPORTER_OTLP_ENDPOINT'
const AT = { [ENDPOINT]: 'http://127.0.0.1:4318' }

function problemsOf(environment: Record<string, string>): string[] {
  try {
    loadConfig(environment)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.message.split('\n').slice(1)
  }
}

describe('tracing', () => {
  test.each<[string, Record<string, string>, boolean]>([
    ['off unless something asks for it', {}, false],
    ['on with an exporter', { OTEL_TRACES_EXPORTER: 'otlp' }, true],
    ['on with several', { OTEL_TRACES_EXPORTER: 'otlp, console' }, true],
    ['on with an endpoint', AT, true],
    ['on with one for traces', { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://h/v1/traces' }, true],
    ['off with one for metrics', { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://h' }, false],
    ['off where the exporter is none', { ...AT, OTEL_TRACES_EXPORTER: 'none' }, false],
    ['off where the SDK is disabled', { ...AT, OTEL_SDK_DISABLED: 'True' }, false],
    ['on where it is not', { ...AT, OTEL_SDK_DISABLED: 'false' }, true],
    ['off where all of it is empty', { [ENDPOINT]: '', OTEL_TRACES_EXPORTER: '' }, false],
    ['off with a name alone', { OTEL_SERVICE_NAME: 'x', OTEL_PROPAGATORS: 'b3' }, false],
  ])('is %s', (_name, environment, on) => {
    expect(loadConfig(environment).tracing).toBe(on)
  })

  test.each<[string, Record<string, string>]>([
    ['an exporter', { OTEL_TRACES_EXPORTER: 'zipkin' }],
    ['a protocol', { ...AT, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }],
    [
      'an address that only gRPC knows',
      { [ENDPOINT]: 'h:4317', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
    ],
    ['propagators', { ...AT, OTEL_PROPAGATORS: 'tracecontext,baggage,b3multi' }],
    [
      'a sampler',
      { ...AT, OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.1' },
    ],
    ['anything where tracing is off', { OTEL_TRACES_SAMPLER: 'x', OTEL_PROPAGATORS: 'y' }],
  ])('takes %s', (_name, environment) => {
    expect(problemsOf(environment)).toEqual([])
  })

  test.each<[Record<string, string>, RegExp]>([
    [{ OTEL_TRACES_EXPORTER: 'jaeger' }, /OTEL_TRACES_EXPORTER must be some of otlp, zipkin/],
    [{ OTEL_TRACES_EXPORTER: ',' }, /OTEL_TRACES_EXPORTER must be/],
    [{ OTEL_TRACES_EXPORTER: 'none,otlp' }, /OTEL_TRACES_EXPORTER must be/],
    [{ ...AT, OTEL_EXPORTER_OTLP_PROTOCOL: 'http' }, /OTEL_EXPORTER_OTLP_PROTOCOL must be one of/],
    [
      { ...AT, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'json' },
      /OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be one of/,
    ],
    [{ [ENDPOINT]: 'collector:4318' }, /OTEL_EXPORTER_OTLP_ENDPOINT must be an http\(s\) URL/],
    [{ ...AT, OTEL_PROPAGATORS: 'w3c' }, /OTEL_PROPAGATORS must be some of tracecontext/],
    [{ ...AT, OTEL_TRACES_SAMPLER: 'often' }, /OTEL_TRACES_SAMPLER must be one of always_on/],
    [
      { ...AT, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '10%' },
      /OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1/,
    ],
    [
      { ...AT, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '1.1' },
      /OTEL_TRACES_SAMPLER_ARG must be/,
    ],
    // The SDK takes these as they are written, and nothing for the default.
    [{ ...AT, OTEL_TRACES_SAMPLER: 'always_off ' }, /OTEL_TRACES_SAMPLER must be one of/],
    [{ ...AT, OTEL_EXPORTER_OTLP_PROTOCOL: ' grpc' }, /OTEL_EXPORTER_OTLP_PROTOCOL must be one/],
    [
      { ...AT, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: ' ' },
      /OTEL_TRACES_SAMPLER_ARG must be/,
    ],
    [
      { [ENDPOINT]: 'h:port', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
      /OTEL_EXPORTER_OTLP_ENDPOINT must be an address/,
    ],
    [{ TRACE_RECORDS: 'yes' }, /TRACE_RECORDS must be on or off/],
  ])('refuses %j', (environment, problem) => {
    expect(problemsOf(environment)).toEqual([expect.stringMatching(problem)])
  })

  test('never repeats a value, which may be a secret', () => {
    const problems = problemsOf({ [ENDPOINT]: 'sesame', OTEL_TRACES_SAMPLER: 'sesame' })
    expect(problems).toHaveLength(2)
    expect(problems.join()).not.toContain('sesame')
  })
})
