/** Cookies of the console's origin. The `__Host-` prefix (RFC 6265bis, 4.1.3.2) keeps other hosts and plain HTTP from setting them. */
import { createHash } from 'node:crypto'
import { withoutBlanks } from '../../protocols/kit/without-blanks.ts'

export const consoleCookie = '__Host-sallyport-console'
const attemptPrefix = '__Host-sallyport-sign-in-'
/** Sign-ins that one browser has begun and not ended; more are forgotten. */
const attemptsMax = 4

export type Cookies = ReadonlyMap<string, string>

/** The first of several values: what a sibling host adds comes after, and `__Host-` keeps it out anyway. */
export function readCookies(header: string | undefined): Cookies {
  const cookies = new Map<string, string>()
  for (const pair of (header ?? '').split(';')) {
    const at = pair.indexOf('=')
    if (at < 1) continue
    const name = withoutBlanks(pair.slice(0, at))
    if (!cookies.has(name)) cookies.set(name, withoutBlanks(pair.slice(at + 1)))
  }
  return cookies
}

export function setCookie(name: string, value: string, lifeMs: number): string {
  const seconds = Math.max(0, Math.floor(lifeMs / 1_000))
  return `${name}=${value}; Path=/; Max-Age=${seconds}; Secure; HttpOnly; SameSite=Lax`
}

export function clearCookie(name: string): string {
  return setCookie(name, '', 0)
}

/** Each sign-in under way has its own, so that two tabs do not disturb each other. */
export function attemptCookie(state: string): string {
  return attemptPrefix + createHash('sha256').update(state).digest('hex').slice(0, 8)
}

/** What to clear, so that they do not pile up. */
export function spareAttempts(cookies: Cookies): string[] {
  const names = [...cookies.keys()].filter((name) => name.startsWith(attemptPrefix))
  return names.length < attemptsMax ? [] : names
}
