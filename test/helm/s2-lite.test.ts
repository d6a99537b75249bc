/** What the chart starts works together: a real s2-lite and a gateway, as it calls them. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { run, startGatewayProcess, statusOf } from '../support/gateway-process.ts'
import { findS2Lite } from '../support/s2-lite.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { environmentOf, only, render } from './chart.ts'
import { areMissing } from './tools.ts'

const s2 = findS2Lite()

describe.skipIf(s2 === undefined || areMissing('helm'))('with s2-lite', () => {
  test('the gateway keeps streams in it', async () => {
    const values = {
      s2Lite: { enabled: true, localRoot: { enabled: true }, appendInflightBytes: '64MiB' },
      auth: { mode: 'none' },
    }
    const manifests = await render({ values })
    const [{ args }] = only(manifests, 'Deployment', 'acme-s2-lite').spec.template.spec.containers
    const [port, data] = [await freePort(), await temporaryDirectory()]
    const here = args.map((arg) => arg.replace('=8080', `=${port}`).replace('=/data', `=${data}`))
    run({ file: s2 ?? '', args: here, env: {} })
    while ((await statusOf(`http://127.0.0.1:${port}/health`)) !== 200) await sleep(50)

    const given = environmentOf(manifests)
    expect(new URL(given['S2_ENDPOINT'] ?? '').hostname).toBe('acme-s2-lite')
    const local = { HOST: '127.0.0.1', PORT: '0', METRICS_PORT: '' }
    const endpoint = { S2_ENDPOINT: `http://127.0.0.1:${port}` }
    const gateway = await startGatewayProcess({ ...given, ...local, ...endpoint })
    const url = gateway.stream('hello')
    const headers = { 'content-type': 'text/plain' }
    expect((await fetch(url, { method: 'PUT', headers })).status).toBe(201)
    expect((await fetch(url, { method: 'POST', headers, body: 'hello' })).status).toBe(204)
    expect(await (await fetch(url)).text()).toBe('hello')
  })
})
