import { remember } from '../../kit/remember.ts'
import { sessionCookie } from '../downstream/evidence.ts'
import { answerFieldsMax, answerHeadBytesMax, type RawHeaders } from '../upstream/app.ts'
import { without } from '../upstream/raw-headers.ts'
import { fieldTokens, isFieldName, isFieldValue, isOfOneHop, lowerNames } from '../wire/fields.ts'

/** `Clear-Site-Data` would clear our session along with the app's. */
const clearsCookies = /"(?:cookies|\*)"/i

/**
 * What passes of an app's fields. Hop-by-hop fields end here; a cookie passes without its Domain (it is for this host only, as no
 * app may reach another's), and none takes the place of ours.
 */
export function responseHeaders(headers: RawHeaders): string[] {
  const lower = lowerNames(headers)
  const named = fieldTokens(lower, 'connection')
  const passing: string[] = []
  for (let at = 0; at < lower.length; at += 2) {
    const name = lower[at]!
    const value = lower[at + 1]!
    if (isOfOneHop(name, named) || name.startsWith('sallyport-')) continue
    if (!isFieldName(name) || !isFieldValue(value)) continue
    if (name === 'clear-site-data' && clearsCookies.test(value)) continue
    if (name === 'set-cookie') {
      const cookie = hostOnly(value)
      if (cookie !== undefined) passing.push(name, cookie)
    } else {
      passing.push(name, value)
    }
  }
  return passing
}

/** A cookie without its Domain; undefined for one that would be ours (RFC 6265bis: prefixes ignore case). */
function hostOnly(value: string): string | undefined {
  const [pair = '', ...attributes] = value.split(';')
  // One without a name, or behind some space, is sent like ours by some browsers.
  const name = pair.replace(/^[\s=]+/, '').toLowerCase()
  if (name.startsWith(sessionCookie.toLowerCase())) return undefined
  const kept = attributes.filter((each) => !/^\s*domain\s*(?:=|$)/i.test(each))
  return [pair, ...kept].join(';')
}

const ofBody = new Set(['content-length'])

/**
 * What passes of the fields of an answer with this status: none says that a body follows where none may (RFC 9110, 8.6 and 15.3.6).
 * Chunks are of one hop in any case.
 */
export function answerHeaders(status: number, headers: RawHeaders): string[] {
  const passing = responseHeaders(headers)
  if (status !== 204 && status !== 205) return passing
  const left = without(passing, ofBody)
  if (status === 205) left.push('content-length', '0')
  return left
}

/** Why the head of an answer cannot be passed on; undefined: it can. What is no status in HTTP/2 is none here (RFC 9110, 15). */
export function faultOfHead(status: number, headers: RawHeaders): string | undefined {
  if (status < 200 || status > 599) return `status ${status}`
  return isTooLarge(headers) ? 'too many fields, or too large ones' : undefined
}

/** The same in every version of HTTP: larger than this, HTTP/2 would lose its whole connection. Sizes as in RFC 9113, 6.5.2. */
export function isTooLarge(headers: RawHeaders): boolean {
  if (headers.length > 2 * answerFieldsMax) return true
  let bytes = headers.length * 16
  for (const each of headers) bytes += each.length
  return bytes > answerHeadBytesMax
}

/** Whether fields after the body are to be expected of HTTP/1.1. */
export function announcesTrailers(headers: RawHeaders): boolean {
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]!.length === 7 && headers[at]!.toLowerCase() === 'trailer') return true
  }
  return false
}

/** A reason phrase that may be said again (RFC 9112, 4). */
export const statusTextOf = remember((text) => (/^[\t -~]{1,200}$/.test(text) ? text : ''), 64)
