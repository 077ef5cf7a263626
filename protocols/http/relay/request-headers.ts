import { evidenceHeader, sessionCookie, showsApiToken } from '../downstream/evidence.ts'
import { remember } from '../../kit/remember.ts'
import type { RawHeaders } from '../upstream/app.ts'
import { dashed, fieldTokens, isOfOneHop } from '../wire/fields.ts'

/** Where a request came from, in the proxy's own words. */
export interface Provenance {
  readonly assertion: string
  readonly remoteAddress: string
  /** As the client sent it. */
  readonly authority: string
  /** The port that the client knows us by. */
  readonly port: number
  /** `Authorization` was evidence, or the resource sets its own. */
  readonly withoutAuthorization: boolean
  /** Trailers can come back: HTTP/2 to the app (gRPC insists on being told so). */
  readonly mayTrail: boolean
}

/** Framing, and what only the proxy answers. */
const notPassed = new Set([
  ...['host', 'content-length', 'expect', 'forwarded', 'x-real-ip', 'true-client-ip', 'client-ip'],
  ...['x-client-ip', 'x-cluster-client-ip', 'x-http-method', 'x-http-method-override'],
  ...[
    'x-method-override',
    'x-host',
    'x-scheme',
    'x-url-scheme',
    'front-end-https',
    'x-wap-profile',
  ],
  ...['fastly-client-ip', 'x-forward-for', 'x-proxyuser-ip', 'x-remote', 'remote', 'ssl-cert'],
  ...['via', 'sec-websocket-key', 'sec-websocket-version', 'sec-websocket-accept', evidenceHeader],
])
/** Families by which apps are told who asks, from where and for what: nobody but the proxy may say it. */
const notPassedFamilies =
  /^(?:sallyport-|proxy-|x-forwarded-|x-forwarded$|cf-|x-original-|x-rewrite-|x-envoy-|x-amzn-oidc-|x-goog-authenticated-|x-auth-request-|x-ms-client-principal|client-cert|x-client-cert|x-client-verify|x-client-dn|x-ssl-|ssl-client|remote-|x-remote-|x-webauth-|x-authenticated-|x-authentik-|x-pomerium-|x-goog-iap-|x-vouch-|x-azure-)/

/**
 * What passes of a client's fields, and what the proxy adds. Hop-by-hop fields end here, those that `Connection` names as well
 * (RFC 9110, 7.6.1); so does what was evidence. An underscore or the like counts as a dash, as it does for many servers.
 */
export function requestHeaders(headers: RawHeaders, from: Provenance): string[] {
  const named = fieldTokens(headers, 'connection')
  const passing: string[] = []
  let cookies = ''
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]!
    const value = headers[at + 1]!
    if (name === 'cookie') {
      const kept = withoutOwn(value)
      if (kept !== '') cookies += cookies === '' ? kept : `; ${kept}`
    } else if (!isOfOneHop(name, named) && !isForbidden(name, value, from)) {
      passing.push(name, value)
    }
  }
  if (cookies !== '') passing.push('cookie', cookies)
  if (from.mayTrail && fieldTokens(headers, 'te').has('trailers')) passing.push('te', 'trailers')
  passing.push('sallyport-assertion', from.assertion)
  passing.push('x-forwarded-for', from.remoteAddress, 'x-forwarded-proto', 'https')
  passing.push('x-forwarded-host', from.authority, 'x-forwarded-port', String(from.port))
  return passing
}

function isForbidden(name: string, value: string, from: Provenance): boolean {
  const kind = kindOf(name)
  if (kind !== 'authorization') return kind === 'forbidden'
  return from.withoutAuthorization || showsApiToken(value)
}

const kindOf = remember((name): 'authorization' | 'forbidden' | 'passing' => {
  const read = dashed(name)
  if (read === 'authorization') return 'authorization'
  return notPassed.has(read) || notPassedFamilies.test(read) ? 'forbidden' : 'passing'
}, 1_024)

/** A Cookie field without the proxy's own. */
function withoutOwn(value: string): string {
  if (!value.includes(sessionCookie)) return value
  return value
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => !pair.startsWith(sessionCookie))
    .join('; ')
}
