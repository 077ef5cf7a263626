/**
 * One base error, one stable code per cause. Every error carries two messages: `message` is for the
 * operator's log, `clientMessage` (with an optional `hint` that says what to do next) is safe to show to
 * whoever is on the wire. Each code is documented in ERRORS.md; a test keeps the two equal.
 */
export const errorCodes = [
  // identity and admission
  'evidence-missing',
  'evidence-invalid',
  'evidence-expired',
  'token-refused',
  'access-denied',
  'name-missing',
  'name-conflict',
  'clock-skew',
  'control-unreachable',
  'proxy-draining',
  'limit-reached',
  // wire
  'plaintext-refused',
  'protocol-violation',
  'frame-too-large',
  'handshake-timeout',
  'client-stalled',
  'unsupported-feature',
  // upstream
  'upstream-unreachable',
  'upstream-tls',
  'upstream-login',
  'upstream-host-key',
  'upstream-timeout',
  'upstream-answer',
  'secret-unavailable',
  'secret-not-bound',
  // audit
  'audit-unwritable',
  'audit-full',
  'audit-corrupt',
  'audit-conflict',
  'audit-gap',
  // control
  'request-invalid',
  'not-found',
  'not-allowed',
  'conflict',
  'join-token-invalid',
  'sign-in-refused',
  'sign-in-unavailable',
  'payload-too-large',
  'rate-limited',
  'store-unavailable',
  'internal',
  // configuration and command line
  'config-invalid',
  'demo-in-production',
  'sealed-file-invalid',
  'usage',
  'client-missing',
] as const

export type ErrorCode = (typeof errorCodes)[number]

export interface ErrorDetails {
  /** What the client may read. Defaults to a sentence that tells nothing. */
  clientMessage?: string
  /** What the client can do next. */
  hint?: string
  cause?: unknown
}

export class SallyportError extends Error {
  readonly code: ErrorCode
  readonly clientMessage: string
  readonly hint: string | undefined

  constructor(code: ErrorCode, operatorMessage: string, details: ErrorDetails = {}) {
    super(operatorMessage, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'SallyportError'
    this.code = code
    this.clientMessage = details.clientMessage ?? 'the connection was refused'
    this.hint = details.hint
  }
}

/** Any thrown value as a SallyportError; an unknown one becomes `internal`. */
export function toSallyportError(thrown: unknown): SallyportError {
  if (thrown instanceof SallyportError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new SallyportError('internal', message, {
    clientMessage: 'something went wrong inside the proxy; the operator can see it in the log',
    cause: thrown,
  })
}
