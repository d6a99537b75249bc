import { expect, test } from 'vitest'
import { Diagnostics, explain } from '../../../src/tracing/diagnostics.ts'

function start() {
  const lines: string[] = []
  return { lines, diagnostics: new Diagnostics((level, text) => lines.push(`${level}: ${text}`)) }
}

/** As the SDK has it: all there is of an error, as JSON. */
const failure = JSON.stringify({
  stack: 'Error: connect ECONNREFUSED 127.0.0.1:4318\n    at somewhere',
  message: 'connect ECONNREFUSED 127.0.0.1:4318',
  name: 'Error',
  code: 'ECONNREFUSED',
})

test('what goes wrong again and again is told once', () => {
  const { lines, diagnostics } = start()
  for (let times = 0; times < 5; times += 1) diagnostics.error(failure)
  diagnostics.warn('something else')
  const told = 'Error: connect ECONNREFUSED 127.0.0.1:4318'
  expect(lines.filter((line) => line.startsWith('warn'))).toEqual([
    `warn: ${told}`,
    'warn: something else',
  ])
  expect(lines.filter((line) => line === `debug: ${told}`)).toHaveLength(4)
})

test.each([
  ['that has its code in its message', 'connect ECONNREFUSED 127.0.0.1:4318', 'ECONNREFUSED', ''],
  ['that has none there', 'socket hang up', 'ECONNRESET', ': ECONNRESET'],
  ['of gRPC', '14 UNAVAILABLE: no connection', 14, ''],
])('an error %s is the same however it comes', (_name, message, code, rest) => {
  const { lines, diagnostics } = start()
  const error = Object.assign(new Error(message), { code })
  diagnostics.error(JSON.stringify({ stack: error.stack, message, name: 'Error', code }))
  expect(lines).toEqual([`warn: Error: ${message}${rest}`])
  expect(explain(error)).toBe(`Error: ${message}${rest}`)
})

test('a thousand different problems are not a thousand lines', () => {
  const { lines, diagnostics } = start()
  for (let index = 0; index < 1000; index += 1) diagnostics.error(`problem ${index}`)
  expect(lines.filter((line) => line.startsWith('warn'))).toHaveLength(20)
})

test('the rest is for those who look for it', () => {
  const { lines, diagnostics } = start()
  diagnostics.info('a')
  diagnostics.debug('{not json')
  diagnostics.verbose()
  expect(lines).toEqual(['debug: a', 'debug: {not json'])
})
