import { isOwnPath } from './own-paths.ts'

/** What is kept in a cookie while somebody signs in. */
const charactersMax = 2_000

/**
 * A path at this host that a browser may be sent to: never another origin (`//host`, `/\host`), never one of ours, which would begin the
 * round again. `/` for anything else.
 */
export function returnPath(path: string): string {
  const isPlain = /^\/(?![/\\])[!-~]*$/.test(path) && !path.includes('\\')
  return isPlain && path.length <= charactersMax && !isOwnPath(path) ? path : '/'
}
