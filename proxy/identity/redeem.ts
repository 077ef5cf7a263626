/** Who shows a connect token: only control can say, and says it once. */
import { tokenDigest } from '../../control/api/token-form.ts'
import type { Arrival } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError, toSallyportError } from '../../protocols/kit/errors.ts'
import { createGuessLimit } from '../../protocols/kit/guess-limit.ts'
import type { Confirmation, ConfirmQuestion } from '../control-link/confirmations.ts'
import { noName } from '../sessions/access-denied.ts'
import { resourceNameOf } from '../sessions/resource-name-of.ts'
import type { Identity } from './identify.ts'

export interface Redeemed {
  readonly identity: Identity
  /** Control's answer to this session: a token is redeemed by its confirmation, in one round trip. */
  readonly confirmation?: Confirmation
  /** As it came, with the level that the evidence is bound to. */
  readonly arrival: Arrival
  /** The one grant that the evidence is for. */
  readonly grantId?: string
}

/**
 * Undefined where no token was shown. Rejects with `token-refused`, in the same words for every cause, and while control cannot
 * be asked; or with `rate-limited` where an address guesses.
 */
export type Redeem = (shown: {
  readonly arrival: Arrival
  readonly sessionId: string
  /** Throws if the proxy takes no sessions at the moment. */
  readonly requireOpen: () => void
}) => Promise<Redeemed | undefined>

export interface RedeemOptions {
  readonly domain: string
  readonly ask: (question: ConfirmQuestion) => Promise<Confirmation>
  readonly clock: Clock
}

/** The first that knows the evidence that was shown. */
export function firstToRedeem(...all: readonly Redeem[]): Redeem {
  return async (shown) => {
    for (const redeem of all) {
      const redeemed = await redeem(shown)
      if (redeemed !== undefined) return redeemed
    }
    return undefined
  }
}

const guessesMax = 60
const guessWindowMs = 60_000

export function createRedeem({ domain, ask, clock }: RedeemOptions): Redeem {
  const guesses = createGuessLimit({ clock, perAddressMax: guessesMax, windowMs: guessWindowMs })

  const redeem = async (arrival: Arrival, digest: Buffer, sessionId: string): Promise<Redeemed> => {
    // A login name with @ says whose the token is; no level and no account of a level has one.
    const named = arrival.wanted.includes('@') ? arrival.wanted.slice(0, 320) : undefined
    const confirmation = await ask({
      sessionId,
      connectToken: {
        digest: digest.toString('hex'),
        remoteAddress: arrival.remoteAddress.slice(0, 64),
        ...(named === undefined ? {} : { personEmail: named }),
      },
      resource: resourceNameOf(arrival.resource ?? '', domain) ?? noName,
      wanted: named === undefined ? arrival.wanted.slice(0, 128) : '',
      protocol: arrival.protocol,
    })
    if (confirmation.kind === 'unreachable') {
      throw refused(`control cannot be asked: ${confirmation.why}`)
    }
    if (confirmation.kind === 'denied') {
      guesses.failed(arrival.remoteAddress)
      throw refused(`control denies: ${confirmation.why}`)
    }
    const { redeemed } = confirmation
    if (redeemed === undefined) throw refused('control does not say whose it is')
    const { tokenId, personId, personEmail, issuedAtMs, level } = redeemed
    const wanted = named === undefined && arrival.wanted !== '' ? arrival.wanted : (level ?? '')
    return {
      identity: { personId, kind: 'token', email: personEmail, serial: tokenId, issuedAtMs },
      confirmation,
      arrival: { ...arrival, evidence: { kind: 'none' }, wanted },
    }
  }

  return async ({ arrival, sessionId, requireOpen }) => {
    const { evidence, remoteAddress } = arrival
    if (evidence.kind !== 'token') return undefined
    guesses.require(remoteAddress)
    try {
      // How this proxy is doing is not for strangers; and a token is not used up for nothing.
      requireOpen()
    } catch (error) {
      const { code, message } = toSallyportError(error)
      throw refused(`not looked at, for ${code}: ${message}`)
    }
    const digest = tokenDigest('connect', evidence.token)
    if (digest !== undefined) return redeem(arrival, digest, sessionId)
    guesses.failed(remoteAddress)
    throw refused('it does not look like one')
  }
}

/** The client learns nothing about which it was; the log does. */
function refused(why: string): SallyportError {
  return new SallyportError('token-refused', `connect token refused: ${why}`, {
    clientMessage: 'the one-time token was not accepted',
    hint:
      'a token is good once, for five minutes, for its own person and resource, under a live grant, and while control ' +
      'can be asked; make a new one: sally token connect <resource>',
  })
}
