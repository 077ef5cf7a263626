/** Who shows an API token of scope `apps`: only control can say, and is asked for each session. */
import { tokenDigest } from '../../control/api/token-form.ts'
import type { Arrival } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { createGuessLimit } from '../../protocols/kit/guess-limit.ts'
import type { Confirmation, ConfirmQuestion } from '../control-link/confirmations.ts'
import { accessDenied, noName } from '../sessions/access-denied.ts'
import { resourceNameOf } from '../sessions/resource-name-of.ts'
import type { Redeem } from './redeem.ts'

export interface RedeemApiTokenOptions {
  readonly domain: string
  readonly ask: (question: ConfirmQuestion) => Promise<Confirmation>
  readonly clock: Clock
}

const guessesMax = 60
const guessWindowMs = 60_000

/**
 * Undefined where no API token was shown. Rejects with `token-refused`, in the same words for every cause, `rate-limited`, or for any token
 * `control-unreachable`.
 */
export function createRedeemApiToken({ domain, ask, clock }: RedeemApiTokenOptions): Redeem {
  const guesses = createGuessLimit({ clock, perAddressMax: guessesMax, windowMs: guessWindowMs })

  async function redeem(arrival: Arrival, digest: Buffer, sessionId: string) {
    const { remoteAddress, protocol, wanted } = arrival
    const named = resourceNameOf(arrival.resource ?? '', domain) ?? noName
    const confirmation = await ask({
      sessionId,
      apiToken: { digest: digest.toString('hex'), remoteAddress: remoteAddress.slice(0, 64) },
      resource: named,
      ...{ wanted: wanted.slice(0, 128), protocol },
    })
    if (confirmation.kind === 'unreachable') {
      throw unreachable(confirmation.why)
    }
    if (confirmation.kind === 'denied') {
      const { why } = confirmation
      // The token is good, and gives no access here: that is no guess at a token.
      if (deniedAccess.has(why)) throw accessDenied(named, wanted, `control denies: ${why}`)
      guesses.failed(remoteAddress)
      throw refused(`control denies: ${why}`)
    }
    const { redeemed } = confirmation
    if (redeemed === undefined) throw refused('control does not say whose it is')
    const { tokenId: serial, personId, personEmail: email, issuedAtMs, expiresAtMs } = redeemed
    if (expiresAtMs === undefined) throw refused('control does not say when it ends')
    return {
      identity: { ...{ personId, email, serial, issuedAtMs, expiresAtMs }, kind: 'api-token' },
      confirmation,
      arrival,
    } as const
  }

  return async ({ arrival, sessionId }) => {
    const { evidence, remoteAddress } = arrival
    if (evidence.kind !== 'bearer') return undefined
    guesses.require(remoteAddress)
    const digest = tokenDigest('api', evidence.token.reveal())
    if (digest === undefined) {
      guesses.failed(remoteAddress)
      throw refused('it does not look like one')
    }
    return redeem(arrival, digest, sessionId)
  }
}

/** What stands against the access, and not against the token. */
const deniedAccess: ReadonlySet<string> = new Set([
  'no-resource',
  'not-in-group',
  'no-grant',
  'grant-ended',
])

/** The client learns nothing about which it was; the log does. */
function refused(why: string): SallyportError {
  return new SallyportError('token-refused', `API token refused: ${why}`, {
    clientMessage: 'the API token was not accepted',
    hint: 'it may be mistyped, ended, revoked or of another scope; make a new one: sally proxy-token',
  })
}

/** Says nothing of the token, which may be good: a program must not throw it away. */
function unreachable(why: string): SallyportError {
  return new SallyportError('control-unreachable', `API token not looked at: ${why}`, {
    clientMessage: 'control cannot be reached, and only control knows API tokens',
    hint: 'try again; a client certificate may be let in meanwhile: sally curl',
  })
}
