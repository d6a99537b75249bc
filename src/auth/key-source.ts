/** Where keys come from, and how often it has to be looked at. */
import { readFile, stat } from 'node:fs/promises'
import type { JwksEndpoint } from './jwks-endpoint.ts'
import { UnusableKeyError, keyFromPem } from './key.ts'
import type { Key, PublicAlgorithm } from './key.ts'
import { parseKeySet } from './key-set.ts'
import type { KeySet } from './key-set.ts'

export type KeySource = {
  /** What it is called in messages; shows no secret. */
  readonly name: string
  /** How long to wait before it is looked at again, in ms. */
  readonly pollMs: number
  /** It may be out of reach when we start: others answer for it. */
  readonly isRemote: boolean
  /** Reads it; undefined when it says what it said before. Rejects when it can't be read. */
  readonly read: () => Promise<KeySet | undefined>
  /** Ends what it holds, and breaks off what is under way. */
  readonly close: () => Promise<void>
}

/** Hears whether an issuer has said which keys there are. */
export type OnFetched = (outcome: 'ok' | 'failed') => void

/**
 * A file is looked at by its content: Kubernetes changes a mounted secret by swapping a symbolic
 * link some directories up, which no watch of the file sees.
 */
const FILE_POLL_MS = 5000
/** Some hundred keys; what is larger is something else. */
const MAX_FILE_BYTES = 512 * 1024
/** How long a key that its issuer has withdrawn goes on here. */
const ENDPOINT_POLL_MS = 5 * 60_000

/** One public key or certificate; see `keyFromPem` for what `alg` is without it. */
export function pemFile(path: string, alg?: PublicAlgorithm): KeySource {
  const parse = async (pem: string): Promise<KeySet> => {
    const key: Key = await keyFromPem(pem, alg)
    return { keys: [key], problems: [] }
  }
  return file(path, parse)
}

/** A JWK set on disk. A key in it that can't be used makes the whole file one that can't. */
export function keySetFile(path: string): KeySource {
  return file(path, async (json) => {
    const set = await parseKeySet(json, { withSecrets: true })
    if (set.problems[0] !== undefined) throw set.problems[0]
    return set
  })
}

/** A JWK set of an issuer. A key in it that can't be used is left out. */
export function keySetUrl(endpoint: JwksEndpoint, onFetched?: OnFetched): KeySource {
  const read = async (): Promise<KeySet> => {
    try {
      const set = await parseKeySet(await endpoint.fetch(), { withSecrets: false })
      onFetched?.('ok')
      return set
    } catch (error) {
      onFetched?.('failed')
      throw error
    }
  }
  return {
    name: 'JWT_JWKS_URL',
    pollMs: ENDPOINT_POLL_MS,
    isRemote: true,
    read,
    close: () => endpoint.close(),
  }
}

function file(path: string, parse: (text: string) => Promise<KeySet>): KeySource {
  let last: string | undefined
  const read = async (): Promise<KeySet | undefined> => {
    const text = await readText(path)
    if (text === last) return undefined
    // What was wrong once is not looked at again either, before it changes.
    last = text
    return parse(text)
  }
  return { name: path, pollMs: FILE_POLL_MS, isRemote: false, read, close: () => Promise.resolve() }
}

async function readText(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > MAX_FILE_BYTES) throw new UnusableKeyError(`it is over ${MAX_FILE_BYTES} bytes`)
  return readFile(path, 'utf8')
}
