import { errorCodes, SallyportError, type ErrorCode } from '../../protocols/kit/errors.ts'
import { InvalidInput, statusOfCode, type Problem } from '../api/problem.ts'

/** What a caller is told about a thrown value. Of what is not ours they learn nothing; the log has it. */
export function problemOf(thrown: unknown): Problem {
  const error =
    thrown instanceof SallyportError ? thrown : (ofFastify(thrown) ?? unexpected(thrown))
  const status = statusOfCode[error.code]
  // A code that has no business here is not for the caller to interpret.
  const shown = status === undefined ? unexpected(error) : error
  return {
    type: `urn:sallyport:error:${shown.code}`,
    title: titleOf(shown.code),
    status: status ?? 500,
    code: shown.code,
    detail: shown.clientMessage,
    ...(shown.hint === undefined ? {} : { hint: shown.hint }),
    ...(shown instanceof InvalidInput ? { issues: shown.issues } : {}),
  }
}

function titleOf(code: ErrorCode): string {
  const words = code.replaceAll('-', ' ')
  return `${words[0]!.toUpperCase()}${words.slice(1)}`
}

function unexpected(cause: unknown): SallyportError {
  return new SallyportError('internal', String(cause), {
    clientMessage: 'something went wrong inside control; the operator can see it in the log',
    hint: 'try again; if it lasts, ask the operator',
    cause,
  })
}

/** What the HTTP library refuses before any of ours sees the request. */
function ofFastify(thrown: unknown): SallyportError | undefined {
  const { code, statusCode, message } = (thrown ?? {}) as {
    code?: unknown
    statusCode?: unknown
    message?: unknown
  }
  if (typeof code !== 'string' || !code.startsWith('FST_')) return undefined
  if (statusCode === 413) {
    return new SallyportError('payload-too-large', String(message), {
      clientMessage: 'the body is larger than this route takes',
    })
  }
  if (typeof statusCode !== 'number' || statusCode >= 500) return undefined
  if (code === 'FST_ERR_BAD_URL' || code === 'FST_ERR_MAX_PARAM_LENGTH') {
    return new SallyportError('request-invalid', code, {
      clientMessage: 'the address of the request cannot be read',
    })
  }
  return new SallyportError('request-invalid', String(message), {
    clientMessage:
      'the request cannot be read: its body or its content type is not what this route takes',
  })
}

/** For the log: which code it was, or `internal`. */
export function codeOf(thrown: unknown): ErrorCode {
  const { code } = problemOf(thrown)
  return errorCodes.includes(code) ? code : 'internal'
}
