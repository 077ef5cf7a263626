/** What goes wrong between us and an app, in words for the operator and words for the client. */
import { SallyportError } from '../../kit/errors.ts'

/** TLS to the app, or to nobody who may be believed to be it. */
export function tlsFailed(why: string, cause?: unknown): SallyportError {
  return new SallyportError('upstream-tls', `TLS to the app: ${why}`, {
    clientMessage: 'no secure connection to the app could be made',
    hint: 'The operator can see the cause in the log.',
    cause,
  })
}

/** Nothing came within the time that the app has. */
export function tooSlow(what: string, cause?: unknown): SallyportError {
  return new SallyportError('upstream-timeout', `${what} took too long`, {
    clientMessage: 'the app did not answer in time',
    hint: 'Try again; if it happens again, tell the operator.',
    cause,
  })
}

/** The app hung up, or said what HTTP does not have. */
export function badAnswer(why: string, cause?: unknown): SallyportError {
  return new SallyportError('upstream-answer', `the answer of the app: ${why}`, {
    clientMessage: 'the app broke off its answer, or gave one that cannot be understood',
    hint: 'Try again; if it happens again, tell the operator.',
    cause,
  })
}

/** The secret is there, and is nothing that can be shown to an app in the way that the resource says. */
export function uselessSecret(why: string, cause?: unknown): SallyportError {
  return new SallyportError('secret-unavailable', `the secret of the app: ${why}`, {
    clientMessage: 'the proxy has no usable secret for the app',
    hint: 'Tell the operator; the log of the proxy has the cause.',
    cause,
  })
}

/** What a library or the system said, as one of the above. */
export function toFailure(error: Error): SallyportError {
  if (error instanceof SallyportError) return error
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (code === 'UND_ERR_HEADERS_TIMEOUT') return tooSlow('the answer of the app', error)
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return badAnswer('too large a head', error)
  if (code.startsWith('ERR_SSL_')) return tlsFailed(error.message, error)
  return badAnswer(`${code} ${error.message}`.trim(), error)
}
