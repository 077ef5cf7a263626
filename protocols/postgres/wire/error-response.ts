/**
 * ErrorResponse and NoticeResponse: how anything that goes wrong is worded on this wire, and how what a server
 * says is read.
 *
 * Source: PostgreSQL documentation, "Error and Notice Message Fields" and appendix "PostgreSQL Error Codes".
 */
import type { ErrorCode, SallyportError } from '../../kit/errors.ts'
import { backend, message } from '../wire.ts'

/** SQLSTATE of each cause; those not named here are `XX000` (internal error). */
const sqlStates: Partial<Record<ErrorCode, string>> = {
  'evidence-missing': '28000',
  'evidence-invalid': '28000',
  'evidence-expired': '28000',
  'token-refused': '28P01',
  'access-denied': '28000',
  'name-missing': '28000',
  'name-conflict': '28000',
  'plaintext-refused': '28000',
  'clock-skew': '57P03',
  'control-unreachable': '57P03',
  'proxy-draining': '57P03',
  'limit-reached': '53300',
  'protocol-violation': '08P01',
  'frame-too-large': '54000',
  'handshake-timeout': '08P01',
  'unsupported-feature': '0A000',
  'upstream-unreachable': '08006',
  'upstream-tls': '08006',
  'upstream-login': '08006',
  'secret-unavailable': '08006',
  'secret-not-bound': '08006',
  'audit-unwritable': '57P03',
  'audit-full': '57P03',
}

/** What the person can do, where the error itself does not say it. */
const hints: Partial<Record<ErrorCode, string>> = {
  'evidence-missing':
    'Set sslcert and sslkey to the certificate that `sally` gave you, and sslmode=verify-full; ' +
    'or give a one-time token as password: sally token connect <resource>.',
}

export interface ErrorFields {
  readonly severity: 'FATAL' | 'ERROR' | 'NOTICE' | 'WARNING'
  /** SQLSTATE. */
  readonly code: string
  readonly message: string
  readonly hint?: string | undefined
}

/** Words any error for the client: FATAL, with an SQLSTATE, what happened, and what to do next. */
export function fatalResponse(error: SallyportError): Buffer {
  return errorResponse({
    severity: 'FATAL',
    code: sqlStates[error.code] ?? 'XX000',
    message: error.clientMessage,
    hint: error.hint ?? hints[error.code],
  })
}

export function errorResponse(fields: ErrorFields): Buffer {
  return message(backend.error, fieldBytes(fields))
}

export function noticeResponse(line: string): Buffer {
  return message(backend.notice, fieldBytes({ severity: 'NOTICE', code: '01000', message: line }))
}

function fieldBytes(fields: ErrorFields): Buffer {
  const clean = (text: string): string => text.replaceAll('\0', ' ')
  let text = `S${fields.severity}\0V${fields.severity}\0C${fields.code}\0M${clean(fields.message)}\0`
  if (fields.hint !== undefined) text += `H${clean(fields.hint)}\0`
  return Buffer.from(`${text}\0`)
}

/** What an ErrorResponse of a server says; missing fields are ''. */
export interface ServerError {
  severity: string
  code: string
  message: string
}

/** Reads the body of an ErrorResponse, also one that was cut short. Never throws. */
export function readErrorResponse(body: Buffer): ServerError {
  const read: ServerError = { severity: '', code: '', message: '' }
  let localSeverity = ''
  let at = 0
  while (at < body.length && body[at] !== 0) {
    const field = String.fromCharCode(body[at]!)
    const zero = body.indexOf(0, at + 1)
    const value = body.toString('utf8', at + 1, zero < 0 ? body.length : zero)
    if (field === 'S') localSeverity = value
    else if (field === 'V') read.severity = value
    else if (field === 'C') read.code = value.slice(0, 5)
    else if (field === 'M') read.message = value
    if (zero < 0) break
    at = zero + 1
  }
  if (read.severity === '') read.severity = localSeverity
  return read
}
