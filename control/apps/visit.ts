import { decodeProtectedHeader } from 'jose'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { verifyToken, type AppVisitClaims } from '../api/tokens.ts'
import { nowMs, type Control } from '../control.ts'
import { findProxyKey } from '../issue/proxy-keys.ts'

/** A browser's visit to an app, as its proxy signed it. Which app there is, it does not say. */
export interface Visit extends AppVisitClaims {
  /** Of the proxy's group. */
  readonly domain: string
  /** Whether a code may be given for it. Later the browser has to begin anew at the app, which costs it nothing. */
  readonly fresh: boolean
}

/** From the app to the code, an approval in between: what the browser keeps at the app lives as long. */
export const visitMs = 8 * 3_600_000
/** How long somebody may wait for an approval with the page open. */
const waitMsMax = 86_400_000
/** Between control's clock and a proxy's. */
const skewMs = 2_000
export const visitCharactersMax = 4_096

/** Rejects with `evidence-invalid` or `evidence-expired`. */
export async function verifyVisit(
  { realm, state, clock }: Pick<Control, 'realm' | 'state' | 'clock'>,
  token: string,
): Promise<Visit> {
  const atMs = nowMs(clock)
  const known = await findProxyKey(state, realm, keyIdOf(token), atMs)
  if (known === undefined) throw refused('its key is of no proxy that counts')
  const claims = await verifyToken('app-visit', token, () => known.publicKey)
  if (claims.realm !== realm) throw refused(`it is of realm ${claims.realm}`)
  if (claims.proxyId !== known.proxyId || claims.group !== known.group) {
    throw refused('it is not of the proxy that signed it')
  }
  const ageMs = atMs - claims.issuedAtMs
  if (ageMs < -skewMs) throw refused('it is from the future')
  if (ageMs > waitMsMax) {
    throw new SallyportError('evidence-expired', `an app visit of ${ageMs} ms ago`, {
      clientMessage: 'this page is from too long ago',
      hint: 'open the app again',
    })
  }
  return { ...claims, domain: known.domain, fresh: ageMs <= visitMs }
}

function keyIdOf(token: string): string {
  try {
    const { kid } = decodeProtectedHeader(token)
    if (typeof kid === 'string') return kid
  } catch {
    // Nothing that can be read.
  }
  throw refused('it names no key')
}

function refused(why: string): SallyportError {
  return new SallyportError('evidence-invalid', `app visit refused: ${why}`, {
    clientMessage: 'this link is not one that an app of yours made',
    hint: 'open the app again',
  })
}
