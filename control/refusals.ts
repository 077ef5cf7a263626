/** Refusals that several operations word alike. */
import { SallyportError } from '../protocols/kit/errors.ts'

/** The same for what does not exist and for what is not the caller's to see. */
export function notFound(what: string): SallyportError {
  return new SallyportError('not-found', `there is no such ${what}`, {
    clientMessage: `there is no such ${what}, or it is not yours to see`,
  })
}

/** For admins, who see everything there is. */
export function missing(what: string, hint?: string): SallyportError {
  const message = `there is no ${what}`
  return new SallyportError('not-found', message, {
    clientMessage: message,
    ...(hint === undefined ? {} : { hint }),
  })
}

export function conflict(what: string, hint?: string): SallyportError {
  return new SallyportError('conflict', what, {
    clientMessage: what,
    ...(hint === undefined ? {} : { hint }),
  })
}

export function notAllowed(what: string, hint?: string): SallyportError {
  return new SallyportError('not-allowed', what, {
    clientMessage: what,
    ...(hint === undefined ? {} : { hint }),
  })
}

export function invalid(what: string, hint?: string): SallyportError {
  return new SallyportError('request-invalid', what, {
    clientMessage: what,
    ...(hint === undefined ? {} : { hint }),
  })
}
