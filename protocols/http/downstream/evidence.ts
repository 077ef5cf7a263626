import { hash } from 'node:crypto'
import type { Evidence } from '../../engine.ts'
import { Secret } from '../../kit/secret.ts'
import type { RawHeaders } from '../upstream/app.ts'
import { fieldValue, fieldValues } from '../wire/fields.ts'

/** Ours, whatever else the client authenticates with at the app. */
export const evidenceHeader = 'sallyport-authorization'
export const sessionCookie = '__Host-sallyport'
export const visitCookiePrefix = '__Host-sallyport-visit-'

/** The form of an API token: whoever sends one in `Authorization` means us. */
const apiToken = /^spa_[A-Za-z0-9_-]{32}$/
const bearer = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i

export interface Shown {
  readonly evidence: Evidence
  /** Tells evidence apart on one connection without keeping it. */
  readonly key: string
  /** `Authorization` was meant for us and goes no further. */
  readonly usesAuthorization: boolean
}

/**
 * What the client shows of itself, the most deliberate first: our own header, a token of ours as `Authorization`, the browser's session
 * cookie, the certificate of its TLS. That one is shown by a browser whoever made it ask, so another site's requests go without.
 */
export function findEvidence(headers: RawHeaders, certificate: Buffer | undefined): Shown {
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
  const site = fieldValue(headers, 'sec-fetch-site')
  const isOwnDoing = site === undefined || site === 'same-origin' || site === 'none'
  if (certificate !== undefined && isOwnDoing) {
    return {
      evidence: { kind: 'client-certificate', certificate },
      key: 'certificate',
      usesAuthorization: false,
    }
  }
  return { evidence: { kind: 'none' }, key: '', usesAuthorization: false }
}

/** Name and value of every cookie, as sent (RFC 6265, 4.2.1). HTTP/2 may send each in a field of its own. */
export function cookiesOf(headers: RawHeaders): [string, string][] {
  return fieldValues(headers, 'cookie')
    .flatMap((line) => line.split(';'))
    .map((pair) => {
      const at = pair.indexOf('=')
      return at < 0 ? ['', pair.trim()] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()]
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
