import { SallyportError } from '../../kit/errors.ts'
import { readErrorResponse } from '../wire/error-response.ts'

/** What may be said of a refusal without naming the account; by SQLSTATE. */
const sayable: Readonly<Record<string, { clientMessage: string; hint: string }>> = {
  '3D000': {
    clientMessage: 'the resource has no database of that name',
    hint: 'Check dbname.',
  },
  '53300': {
    clientMessage: 'the resource has too many connections already',
    hint: 'Try again later, or close connections that you do not need.',
  },
  '57P03': {
    clientMessage: 'the resource is not ready for connections now',
    hint: 'Try again in a moment.',
  },
  '22023': {
    clientMessage: 'the resource does not take a value of the start-up parameters',
    hint: 'Check what the client sets at start-up (options, PGOPTIONS, client_encoding).',
  },
  '42704': {
    clientMessage: 'the resource does not know one of the start-up parameters',
    hint: 'Check what the client sets at start-up (options, PGOPTIONS).',
  },
}

/** An ErrorResponse to the login, worded for both readers. */
export function refusedLogin(whole: Buffer): SallyportError {
  const { code, message } = readErrorResponse(whole.subarray(5))
  const said = sayable[code]
  return new SallyportError(
    'upstream-login',
    `the resource refused the login: ${code} ${message}`,
    {
      clientMessage: said?.clientMessage ?? 'the resource refused the login of the proxy',
      hint: said?.hint ?? 'The operator can see the cause in the log.',
    },
  )
}
