import { SallyportError, type ErrorCode, type ErrorDetails } from '../../kit/errors.ts'

/** A refusal with the status that HTTP has for it, where its code alone does not say. */
export class HttpRefusal extends SallyportError {
  readonly status: number
  /** Nothing more is read of this connection (HTTP/1): what follows may not be what it seems. */
  readonly isLast: boolean

  constructor(
    status: number,
    code: ErrorCode,
    clientMessage: string,
    details: Pick<ErrorDetails, 'hint' | 'cause'> & { readonly isLast?: boolean } = {},
  ) {
    super(code, clientMessage, { clientMessage, ...details })
    this.status = status
    this.isLast = details.isLast ?? false
  }
}

/** A request that breaks a rule of the protocol: 400, and the connection ends. */
export function malformed(clientMessage: string): HttpRefusal {
  return new HttpRefusal(400, 'protocol-violation', clientMessage, {
    isLast: true,
    hint: 'Use another client, or a newer one.',
  })
}

const statuses: Partial<Record<ErrorCode, number>> = {
  'evidence-missing': 401,
  'evidence-invalid': 401,
  'evidence-expired': 401,
  'token-refused': 401,
  'access-denied': 403,
  'name-missing': 404,
  'clock-skew': 503,
  'control-unreachable': 503,
  'proxy-draining': 503,
  'limit-reached': 429,
  'rate-limited': 429,
  'protocol-violation': 400,
  'frame-too-large': 413,
  'unsupported-feature': 501,
  'upstream-unreachable': 502,
  'upstream-tls': 502,
  'upstream-login': 502,
  'upstream-timeout': 504,
  'upstream-answer': 502,
  'secret-unavailable': 502,
  'secret-not-bound': 502,
  'audit-unwritable': 503,
  'audit-full': 503,
  'sign-in-refused': 403,
  'sign-in-unavailable': 503,
  'not-found': 404,
}

export function statusOf(error: SallyportError): number {
  return error instanceof HttpRefusal ? error.status : (statuses[error.code] ?? 500)
}
