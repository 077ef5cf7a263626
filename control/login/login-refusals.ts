/** Why a sign-in does not go on, in words that the person may read. */
import { SallyportError } from '../../protocols/kit/errors.ts'

/** It is not the person's doing: nothing configured, the provider away or talking nonsense. */
export function signInUnavailable(what: string, hint: string, cause?: unknown): SallyportError {
  return new SallyportError('sign-in-unavailable', withCause(what, cause), {
    clientMessage: what,
    hint,
    cause,
  })
}

/** The provider or control said no. */
export function signInRefused(what: string, hint: string, cause?: unknown): SallyportError {
  return new SallyportError('sign-in-refused', withCause(what, cause), {
    clientMessage: what,
    hint,
    cause,
  })
}

/** The same for an attempt that never was, is another's, is over or was used: nobody learns which. */
export function attemptRefused(why: string): SallyportError {
  return new SallyportError('sign-in-refused', `sign-in attempt refused: ${why}`, {
    clientMessage: 'this sign-in is not known, is over, or was used already',
    hint: 'begin again: sally login',
  })
}

function withCause(what: string, cause: unknown): string {
  return cause instanceof Error ? `${what}: ${cause.message}` : what
}
