/** What the environment may say on origins of pages: a part of config.ts. */
import { z } from 'zod'
import { areExact, parseOrigins, parseProjectOrigins } from './protocol/origins.ts'
import type { OriginPolicy } from './protocol/origins.ts'

/** A text that is well-formed when it can be parsed. What is wrong with it is told without it. */
const parsable = (must: string, parse: (text: string) => unknown): z.ZodString =>
  z.string().superRefine((text, context) => {
    try {
      parse(text)
    } catch (error) {
      context.addIssue(`must be ${must}: ${error instanceof Error ? error.message : 'it is not'}`)
    }
  })

export const corsVariables = {
  CORS_ORIGINS: parsable(
    '* or origins like https://a.example, https://*.a.example',
    parseOrigins,
  ).default('*'),
  CORS_PROJECT_ORIGINS: parsable(
    'like acme=https://a.example https://b.example; other=https://c.example',
    parseProjectOrigins,
  ).optional(),
  CORS_CREDENTIALS: z.enum(['true', 'false'], 'must be true or false').default('false'),
}

type CorsVariables = {
  readonly CORS_ORIGINS: string
  readonly CORS_PROJECT_ORIGINS?: string | undefined
  readonly CORS_CREDENTIALS: 'true' | 'false'
}

/** The policy that well-formed variables state. */
export function originPolicy(config: CorsVariables): OriginPolicy {
  return {
    origins: parseOrigins(config.CORS_ORIGINS),
    projects: parseProjectOrigins(config.CORS_PROJECT_ORIGINS ?? ''),
    credentials: config.CORS_CREDENTIALS === 'true',
  }
}

/** A page that nobody has named must not act as whoever looks at it. */
export function* impossibleCors(config: CorsVariables): Generator<string> {
  const { credentials, origins, projects } = originPolicy(config)
  if (credentials && ![origins, ...projects.values()].every(areExact)) {
    yield 'CORS_CREDENTIALS=true needs exact origins: no * in CORS_ORIGINS or CORS_PROJECT_ORIGINS'
  }
}
