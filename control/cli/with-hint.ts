import { SallyportError, type ErrorCode } from '../../protocols/kit/errors.ts'

/** The same refusal with what to do next, where control gave no advice of its own. */
export function withHint(error: unknown, code: ErrorCode, hint: string): unknown {
  if (!(error instanceof SallyportError) || error.code !== code || error.hint !== undefined) {
    return error
  }
  return new SallyportError(code, error.message, {
    clientMessage: error.clientMessage,
    hint,
    cause: error,
  })
}
