/** Who a browser's cookie stands for: signed by control for one person, one grant and one resource, and verified here without asking. */
import { createHash } from 'node:crypto'
import { decodeProtectedHeader } from 'jose'
import { LRUCache } from 'lru-cache'
import { verifyToken, type AppSessionClaims } from '../../control/api/tokens.ts'
import type { Arrival } from '../../protocols/engine.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { ControlClock } from '../control-link/control-clock.ts'
import type { ControlView } from '../grants/control-view.ts'
import { resourceNameOf } from '../sessions/resource-name-of.ts'
import { revokedError, type Identity } from './identify.ts'
import type { Redeemed } from './redeem.ts'

export interface BrowserSessions {
  /** Undefined where no cookie was shown. Rejects with `evidence-invalid`, in the same words for every cause, or `evidence-expired`. */
  readonly redeem: (shown: { readonly arrival: Arrival }) => Promise<Redeemed | undefined>
}

export interface BrowserSessionsOptions {
  readonly realm: string
  readonly group: string
  readonly domain: string
  readonly view: Pick<ControlView, 'keys' | 'certificateObjection'>
  readonly controlClock: Pick<ControlClock, 'leftMs'>
}

const cachedMax = 10_000
const cookieCharactersMax = 4_096

export function createBrowserSessions(options: BrowserSessionsOptions): BrowserSessions {
  const { realm, group, domain, view, controlClock } = options
  /** By digest: cookies are not kept. */
  const verified = new LRUCache<string, { claims: AppSessionClaims; kid: string }>({
    max: cachedMax,
  })

  async function claimsOf(cookie: string): Promise<AppSessionClaims> {
    if (cookie.length > cookieCharactersMax) throw refused('it is too long')
    const digest = createHash('sha256').update(cookie).digest('base64')
    const known = verified.get(digest)
    // A key that control has withdrawn vouches for nothing, whatever it signed before.
    if (known !== undefined && view.keys.has(known.kid)) return known.claims
    try {
      const claims = await verifyToken('app-session', cookie, view.keys.find)
      verified.set(digest, { claims, kid: String(decodeProtectedHeader(cookie).kid) })
      return claims
    } catch (error) {
      throw refused(error instanceof Error ? error.message : String(error))
    }
  }

  return {
    async redeem({ arrival }) {
      const { evidence, wanted } = arrival
      if (evidence.kind !== 'browser-session') return undefined
      const claims = await claimsOf(evidence.cookie.reveal())
      const named = resourceNameOf(arrival.resource ?? '', domain)
      if (claims.realm !== realm) throw refused(`of realm ${claims.realm}`)
      if (claims.group !== group) throw refused(`of group ${claims.group}`)
      if (claims.resource !== named) throw refused(`for ${claims.resource}`)
      const identity: Identity = {
        personId: claims.personId,
        email: claims.personEmail,
        kind: 'browser',
        serial: claims.signInId,
        issuedAtMs: claims.issuedAtMs,
        expiresAtMs: claims.expiresAtMs,
      }
      if (controlClock.leftMs(claims.expiresAtMs) <= 0) {
        throw new SallyportError('evidence-expired', `sign-in ${claims.signInId} has ended`, {
          clientMessage: 'the time of your sign-in is over',
          hint: 'open the app again to sign in',
        })
      }
      const objection = view.certificateObjection(identity)
      if (objection !== undefined) throw revokedError(objection, identity)
      const { grantId, level } = claims
      return { identity, grantId, arrival: { ...arrival, wanted: wanted === '' ? level : wanted } }
    },
  }
}

function refused(why: string): SallyportError {
  return new SallyportError('evidence-invalid', `a browser's session is refused: ${why}`, {
    clientMessage: 'this browser is not signed in here',
    hint: 'open the app again to sign in',
  })
}
