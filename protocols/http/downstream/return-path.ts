/** Paths of ours at an app's host, and those that a browser may be sent back to. */
export const ownPaths = {
  finish: '/.sallyport/finish',
  open: '/.sallyport/open',
  signOut: '/.sallyport/sign-out',
  events: '/.sallyport/events',
} as const

/** What is kept in a cookie while somebody signs in. */
const charactersMax = 2_000

/** Whether a path is ours, in any spelling that an app could read so. */
export function isOwnPath(path: string): boolean {
  return /^\/+(?:\.|%2e)sallyport(?:[/;%]|$)/i.test(path)
}

/**
 * A path at this host that a browser may be sent to: never another origin (`//host`, `/\host`), never one of ours, which would begin the
 * round again. `/` for anything else.
 */
export function returnPath(path: string): string {
  const isPlain = /^\/(?![/\\])[!-~]*$/.test(path) && !path.includes('\\')
  return isPlain && path.length <= charactersMax && !isOwnPath(path) ? path : '/'
}
