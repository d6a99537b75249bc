/** Puts the parts together: keys from wherever the configuration says, and who verifies with them. */
import type { Clock } from '../clock.ts'
import type { TokenRules } from './access-tokens.ts'
import { Authenticator } from './authenticator.ts'
import { JwksEndpoint } from './jwks-endpoint.ts'
import { keyFromSecret } from './key.ts'
import type { PublicAlgorithm, SecretAlgorithm } from './key.ts'
import { KeyRing } from './key-ring.ts'
import { keySetFile, keySetUrl, pemFile } from './key-source.ts'
import type { KeySource, OnFetched } from './key-source.ts'

/** Where the keys are. */
export type KeysOptions = {
  readonly secrets: readonly { readonly alg: SecretAlgorithm; readonly secret: string }[]
  /** Without `alg` the usual one of the key's kind. */
  readonly pemFiles: readonly { readonly path: string; readonly alg: PublicAlgorithm | undefined }[]
  readonly jwksFile: string | undefined
  /** https, or on loopback http. */
  readonly jwksUrl: string | undefined
}

export type OpenOptions = {
  readonly keys: KeysOptions
  readonly rules: TokenRules
  /** Shared by all gateways; without any there are no tickets. */
  readonly gatewaySecrets: readonly string[]
  readonly ticketTtlMs: number
  readonly clock: Clock
  /** Keys can't be read any more, or can't be used; the last good ones stay. */
  readonly onProblem: (what: string, error: unknown) => void
  /** Hears of every time that an issuer was asked for its keys. */
  readonly onFetched?: OnFetched | undefined
}

/**
 * Opens an authenticator once its keys are read. An issuer that is out of reach is asked again.
 *
 * @throws KeySourceError files that can't be used
 * @throws UnusableKeyError a secret that is too short
 */
export async function openAuthenticator(options: OpenOptions): Promise<Authenticator> {
  const { keys: given, clock, onProblem, onFetched } = options
  const keys = await Promise.all(
    given.secrets.map(({ alg, secret }) => keyFromSecret(alg, Buffer.from(secret))),
  )
  const sources = sourcesOf(given, clock, onFetched)
  const ring = await KeyRing.open({ keys, sources, clock, onProblem })
  return new Authenticator({ ...options, ring })
}

function sourcesOf(
  { pemFiles, jwksFile, jwksUrl }: KeysOptions,
  clock: Clock,
  onFetched: OnFetched | undefined,
): KeySource[] {
  return [
    ...pemFiles.map(({ path, alg }) => pemFile(path, alg)),
    ...(jwksFile === undefined ? [] : [keySetFile(jwksFile)]),
    ...(jwksUrl === undefined ? [] : [keySetUrl(new JwksEndpoint(jwksUrl, clock), onFetched)]),
  ]
}
