import { sessionCookie } from '../downstream/evidence.ts'
import type { RawHeaders } from '../upstream/app.ts'
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

/** RFC 9110, 15: what is none in HTTP/2 is none here. */
export function isStatus(status: number): boolean {
  return status >= 200 && status <= 599
}
