/** Pages that a sign-in may go on to. */
const pages = new Set(['/', '/apps/open', '/sign-out'])
const charactersMax = 6_000

/**
 * A path of ours to go on to; `/` for whatever is none. Never somewhere else: what browsers read as another host (`//`, `\`, control
 * characters that they drop, RFC 3986 and the URL standard) is none.
 */
export function ownPath(given: string | undefined): string {
  if (given === undefined || given.length > charactersMax) return '/'
  if (!/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(given)) return '/'
  const url = URL.parse(given, 'https://own.invalid')
  if (url === null || url.origin !== 'https://own.invalid' || !pages.has(url.pathname)) return '/'
  return url.pathname + url.search
}
