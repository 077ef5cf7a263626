/** Errors on the wire of the API: problem+json (RFC 9457) with our stable codes. */
import { z } from 'zod'
import { errorCodes, SallyportError, type ErrorCode } from '../../protocols/kit/errors.ts'

export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.enum(errorCodes),
  /** What happened, for a person. */
  detail: z.string(),
  /** What to do next, for a person. */
  hint: z.string().optional(),
  /** Where in the input, for `request-invalid` and `config-invalid`. */
  issues: z
    .array(
      z.object({
        path: z.string(),
        message: z.string(),
        line: z.int().optional(),
        column: z.int().optional(),
      }),
    )
    .optional(),
})
export type Problem = z.infer<typeof problem>

/** HTTP status of each code an API may answer with. */
export const statusOfCode: Partial<Record<ErrorCode, number>> = {
  'evidence-missing': 401,
  'evidence-invalid': 401,
  'evidence-expired': 401,
  'token-refused': 401,
  'access-denied': 403,
  'not-allowed': 403,
  'not-found': 404,
  conflict: 409,
  'audit-conflict': 409,
  'audit-corrupt': 422,
  'audit-gap': 409,
  'join-token-invalid': 401,
  'sign-in-refused': 403,
  'sign-in-unavailable': 503,
  'request-invalid': 400,
  'config-invalid': 422,
  usage: 400,
  'payload-too-large': 413,
  'rate-limited': 429,
  'store-unavailable': 503,
  internal: 500,
}

/** An API's refusal with positions in the caller's input. */
export class InvalidInput extends SallyportError {
  readonly issues: NonNullable<Problem['issues']>

  constructor(
    code: 'request-invalid' | 'config-invalid',
    detail: string,
    issues: NonNullable<Problem['issues']>,
  ) {
    super(code, detail, { clientMessage: detail })
    this.issues = issues
  }
}
