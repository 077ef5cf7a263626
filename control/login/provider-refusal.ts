import * as openid from 'openid-client'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { signInRefused, signInUnavailable } from './login-refusals.ts'

const again = 'try again in a minute: sally login; if it lasts, tell the operator of control'
const tellOperator =
  'tell the operator of control: its log has the details, and the provider’s configuration does not fit'

/** What the library or the network threw, as one of our refusals. `issuer` is named, what the provider said is not repeated. */
export function refusalOf(thrown: unknown, issuer: string): SallyportError {
  const own = ownCause(thrown)
  if (own !== undefined) return own
  if (thrown instanceof openid.ResponseBodyError) return ofErrorAnswer(thrown, issuer)
  if (thrown instanceof openid.AuthorizationResponseError) {
    return signInRefused(
      'the identity provider did not let you in',
      'begin again: sally login',
      thrown,
    )
  }
  const code = thrown instanceof openid.ClientError ? thrown.code : undefined
  switch (code) {
    case 'OAUTH_JWT_TIMESTAMP_CHECK_FAILED':
      return clocksApart(thrown)
    case 'OAUTH_TIMEOUT':
    case 'OAUTH_ABORT':
      return signInUnavailable(
        `the identity provider ${issuer} did not answer in time`,
        again,
        thrown,
      )
    case 'OAUTH_JWT_CLAIM_COMPARISON_FAILED':
      return signInRefused(
        'the identity provider’s token is not for this sign-in: its issuer, audience, party or nonce is another',
        tellOperator,
        thrown,
      )
    case 'OAUTH_KEY_SELECTION_FAILED':
      return signInUnavailable(
        'the identity provider’s token is signed with a key that it does not publish',
        again,
        thrown,
      )
    default:
      return signInUnavailable(
        `the identity provider ${issuer} gave an answer that control cannot use`,
        tellOperator,
        thrown,
      )
  }
}

/** The provider's clock and ours disagree by more than the tolerance. */
export function clocksApart(cause?: unknown): SallyportError {
  return signInRefused(
    'the identity provider’s token is not valid at this time: the clocks of control and of the provider are apart',
    'tell the operator of control to set its clock (timedatectl set-ntp true), and compare the provider’s',
    cause,
  )
}

function ofErrorAnswer(answer: openid.ResponseBodyError, issuer: string): SallyportError {
  switch (answer.error) {
    case 'access_denied':
      return signInRefused(
        'the sign-in was denied at the identity provider',
        'begin again: sally login',
        answer,
      )
    case 'expired_token':
      return signInRefused(
        'nobody signed in at the link in time',
        'begin again: sally login',
        answer,
      )
    case 'invalid_grant':
      return signInRefused(
        'the identity provider does not accept this sign-in (any more)',
        'begin again: sally login',
        answer,
      )
    case 'invalid_client':
    case 'unauthorized_client':
      return signInUnavailable(
        `the identity provider ${issuer} does not accept control as its client`,
        tellOperator,
        answer,
      )
    default:
      return signInUnavailable(
        `the identity provider ${issuer} refused what control asked`,
        answer.status >= 500 ? again : tellOperator,
        answer,
      )
  }
}

/** Ours may be wrapped by the library on its way up. */
function ownCause(thrown: unknown): SallyportError | undefined {
  let at = thrown
  for (let depth = 0; depth < 5 && at instanceof Error; depth += 1) {
    if (at instanceof SallyportError) return at
    at = at.cause
  }
  return undefined
}
