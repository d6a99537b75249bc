/** Kinds of values that environment variables have: how they are read, and what is refused. */
import { isIPv4 } from 'node:net'
import { z } from 'zod'

export const KIB = 1024
export const MIB = 1024 * KIB

export const LOOPBACK = '127.0.0.1'

/** The bounds are wide; they catch slips of the pen, not judgement. */
export const milliseconds = (fallback: number, max = 24 * 60 * 60 * 1000): z.ZodType<number> =>
  integer(fallback, 1, max)

export const integer = (fallback: number, min: number, max: number): z.ZodType<number> =>
  whole(min, max).prefault(String(fallback))

const whole = (min: number, max: number) => {
  const error = `must be a whole number from ${min} to ${max}`
  return z
    .string()
    .regex(/^\d+$/, error)
    .transform(Number)
    .pipe(z.number().min(min, error).max(max, error))
}

/** One to listen on; 0 for any that is free. */
export const port = whole(0, 65_535)

export const text = (fallback: string): z.ZodType<string> => z.string().default(fallback)

export const flag = (fallback: 'true' | 'false') =>
  z.enum(['true', 'false'], 'must be true or false').default(fallback)

/**
 * The SDK takes a path of `/` for one to keep, where everybody means none; and what S2 is at goes
 * into logs, so that a secret in it would too.
 */
export function endpoint(text: string, context: z.RefinementCtx): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = url !== undefined && url.search + url.hash + url.username + url.password === ''
  if (!isPlain || !/^https?:$/.test(url.protocol)) {
    context.addIssue('must be an http(s) URL without credentials, query or fragment')
    return z.NEVER
  }
  return url.pathname === '/' ? url.origin : text
}

/** What `/v1/stream/` can follow: a base path has no slash at its end. */
export function withoutSlash(text: string): string {
  const { origin, pathname } = new URL(text)
  return `${origin}${pathname.replace(/\/+$/, '')}`
}

/** The parts of a list. */
export function listOf(text: string, separator: RegExp | string = ','): string[] {
  return text
    .split(separator)
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/** @param host as it stands in a URL or by itself */
export function isLoopback(host: string): boolean {
  const isName = host === 'localhost' || host === '::1' || host === '[::1]'
  return isName || (isIPv4(host) && host.startsWith('127.'))
}
