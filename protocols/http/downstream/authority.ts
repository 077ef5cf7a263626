import { remember } from '../../kit/remember.ts'

/** Who is asked, as `Host` and `:authority` say it (RFC 3986, 3.2; RFC 9110, 7.2). */
export interface Authority {
  /** Lower case. */
  readonly name: string
  /** Undefined: the usual one of https. */
  readonly port: number | undefined
}

/** A name of the DNS, and a port at most: no user, no IP literal, no trailing dot. Undefined for anything else. */
export function parseAuthority(text: string): Authority | undefined {
  return parsed(text).authority
}

const parsed = remember((text) => ({ authority: parse(text) }), 256)

function parse(text: string): Authority | undefined {
  const found = /^([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::([0-9]{1,5}))?$/i.exec(text)
  if (found === null || found[1]!.includes('..')) return undefined
  const port = found[2] === undefined ? undefined : Number(found[2])
  if (port !== undefined && (port === 0 || port > 65_535)) return undefined
  return { name: found[1]!.toLowerCase(), port }
}
