import { hash } from 'node:crypto'
import type { Evidence } from '../../engine.ts'
import { Secret } from '../../kit/secret.ts'
import { withoutBlanks } from '../../kit/without-blanks.ts'
import type { RawHeaders } from '../upstream/app.ts'
import { fieldValue, fieldValues } from '../wire/fields.ts'

/** Ours, whatever else the client authenticates with at the app. */
export const evidenceHeader = 'sallyport-authorization'
export const sessionCookie = '__Host-sallyport'
export const visitCookiePrefix = '__Host-sallyport-visit-'

/** The form of an API token: whoever sends one in `Authorization` means us. */
const apiToken = /^spa_[A-Za-z0-9_-]{32}$/
/** One of ours, wherever it stands: no app is to see it, whatever else was evidence. */
const holdsApiToken = /spa_[A-Za-z0-9_-]{32}/
const basic = /^Basic[\t ]+([A-Za-z0-9+/]+={0,2})$/i
const bearer = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i

/** Whether an `Authorization` holds a token of ours; programs that know names and passwords alone send it as one of them (RFC 7617). */
export function showsApiToken(authorization: string): boolean {
  if (holdsApiToken.test(authorization)) return true
  const pair = basic.exec(authorization)?.[1]
  return pair !== undefined && holdsApiToken.test(Buffer.from(pair, 'base64').toString('latin1'))
}

export interface Shown {
  readonly evidence: Evidence
  /** Tells evidence apart on one connection without keeping it. */
  readonly key: string
  /** `Authorization` was meant for us and goes no further. */
  readonly usesAuthorization: boolean
}

/**
 * What the client shows of itself, the most deliberate first: our own header, a token of ours as `Authorization`, the browser's session
 * cookie, the certificate of its TLS. That one is shown by a browser whoever made it ask, so another site's requests go without; `authority` is
 * whom they ask.
 */
export function findEvidence(
  headers: RawHeaders,
  certificate: Buffer | undefined,
  authority: string,
): Shown {
  const ours = bearer.exec(fieldValue(headers, evidenceHeader) ?? '')?.[1]
  if (ours !== undefined) return token(ours, false)
  const authorization = bearer.exec(fieldValue(headers, 'authorization') ?? '')?.[1]
  if (authorization !== undefined && apiToken.test(authorization)) return token(authorization, true)
  const cookie = cookiesOf(headers).find(([name]) => name === sessionCookie)?.[1]
  if (cookie !== undefined && cookie !== '') {
    return {
      evidence: { kind: 'browser-session', cookie: new Secret(cookie) },
      key: digest('cookie', cookie),
      usesAuthorization: false,
    }
  }
  if (certificate !== undefined && isOwnDoing(headers, authority)) {
    return {
      evidence: { kind: 'client-certificate', certificate },
      key: 'certificate',
      usesAuthorization: false,
    }
  }
  return { evidence: { kind: 'none' }, key: '', usesAuthorization: false }
}

/** Not what another site made a browser ask; older ones tell so by `Origin` alone, of what is no plain GET. */
function isOwnDoing(headers: RawHeaders, authority: string): boolean {
  const site = fieldValue(headers, 'sec-fetch-site')
  if (site !== undefined) return site === 'same-origin' || site === 'none'
  const origin = fieldValue(headers, 'origin')?.toLowerCase()
  return origin === undefined || origin === `https://${authority.replace(/:443$/, '')}`
}

/** Browsers keep 180 for a host. Strangers may send a head that is nothing else. */
const cookiesMax = 1_000

/** Name and value of every cookie, as sent (RFC 6265, 4.2.1), of the first thousand. HTTP/2 may send each in a field of its own. */
export function cookiesOf(headers: RawHeaders): [string, string][] {
  return fieldValues(headers, 'cookie')
    .join(';')
    .split(';', cookiesMax)
    .map((pair) => {
      const at = pair.indexOf('=')
      if (at < 0) return ['', withoutBlanks(pair)]
      return [withoutBlanks(pair.slice(0, at)), withoutBlanks(pair.slice(at + 1))]
    })
}

function token(text: string, usesAuthorization: boolean): Shown {
  return {
    evidence: { kind: 'bearer', token: new Secret(text) },
    key: digest('bearer', text),
    usesAuthorization,
  }
}

function digest(kind: string, text: string): string {
  return `${kind} ${hash('sha256', text, 'base64')}`
}
