/** The access token of one session, kept for as long as its server lets it live. */
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError, toSallyportError } from '../../protocols/kit/errors.ts'
import { Secret } from '../../protocols/kit/secret.ts'
import { requestAccessToken, type ClientCredentials } from './request-access-token.ts'

export interface AccessTokens {
  /** A copy of the token, for the caller to drop. Rejects with `secret-unavailable`. */
  get(): Promise<Secret<string>>
  drop(): void
}

export interface AccessTokensOptions {
  readonly credentials: ClientCredentials
  /** The client's id. */
  readonly clientId: string
  /** Fetches the client's secret. */
  readonly fetchSecret: () => Promise<Secret<string>>
  readonly signal: AbortSignal
  readonly clock: Pick<Clock, 'monotonicMs' | 'startTimer'>
}

/** So long before its end a token is not used any more: what it opens may take a while. */
const marginMs = 30_000
/** Where the server does not say how long it lives. */
const unsaidLifeMs = 60_000
/** From asking for a token to its answer. */
const answerMs = 10_000
const lifeMsMax = 86_400_000

export function createAccessTokens(options: AccessTokensOptions): AccessTokens {
  const { credentials, clientId, signal, clock } = options
  let held: { readonly token: Secret<string>; readonly untilMs: number } | undefined
  let asking: Promise<Secret<string>> | undefined
  let isDropped = false

  async function ask(): Promise<Secret<string>> {
    const askedMs = clock.monotonicMs()
    const secret = await options.fetchSecret()
    const late = new AbortController()
    const timer = clock.startTimer(answerMs, () => late.abort(new Error('no answer in time')))
    const either = AbortSignal.any([signal, late.signal])
    let token: Secret<string>
    let lifeMs: number
    try {
      const given = await requestAccessToken(credentials, { id: clientId, secret }, either)
      token = new Secret(given.token)
      lifeMs = Math.min(lifeMsMax, (given.lifeSeconds ?? unsaidLifeMs / 1_000) * 1_000)
    } catch (error) {
      throw unavailable(error)
    } finally {
      timer.cancel()
      secret.drop()
    }
    held?.token.drop()
    held = isDropped ? undefined : { token, untilMs: askedMs + lifeMs - marginMs }
    return token
  }

  return {
    async get() {
      if (held !== undefined && clock.monotonicMs() < held.untilMs) {
        return new Secret(held.token.reveal())
      }
      asking ??= ask().finally(() => (asking = undefined))
      return new Secret((await asking).reveal())
    },
    drop() {
      isDropped = true
      held?.token.drop()
      held = undefined
    },
  }
}

function unavailable(cause: unknown): SallyportError {
  const { message } = toSallyportError(cause)
  return new SallyportError('secret-unavailable', `no access token: ${message}`, {
    clientMessage: 'the proxy cannot get the credential of this resource',
    hint: 'ask the operator of the proxy; its log says what the token’s server answered',
    cause,
  })
}
