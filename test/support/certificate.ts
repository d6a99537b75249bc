/** A certificate that nobody trusts, for servers of one test run. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { CleanUps } from './clean-ups.ts'
import { temporaryDirectory } from './temporary.ts'

export type Certificate = { readonly key: string; readonly cert: string }

/** Makes one by the system's openssl. */
export async function selfSigned(cleanUps: CleanUps): Promise<Certificate> {
  const directory = await temporaryDirectory(cleanUps)
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  const request = ['req', '-x509', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
  const what = ['-subj', '/CN=example.test', '-days', '2', '-keyout', key, '-out', cert]
  await promisify(execFile)('openssl', [...request, ...what])
  return { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') }
}
