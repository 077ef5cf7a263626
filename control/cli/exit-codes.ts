/** What `sally` exits with, so that scripts need not read words. */
import type { ErrorCode } from '../../protocols/kit/errors.ts'

export const exitCodes = {
  ok: 0,
  negative: 1,
  usage: 2,
  denied: 3,
  notFound: 4,
  unreachable: 5,
  signedOut: 6,
  conflict: 7,
  unanswered: 8,
  internal: 70,
} as const
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

export const exitCodeMeanings: readonly (readonly [ExitCode, string])[] = [
  [exitCodes.ok, 'it worked'],
  [
    exitCodes.negative,
    'the command’s own no: damage was found, a check failed, psql or ssh is missing',
  ],
  [exitCodes.usage, 'usage: an option, an argument, a file or the home is not as it must be'],
  [exitCodes.denied, 'you may not do that, or your request was denied'],
  [exitCodes.notFound, 'there is no such thing'],
  [exitCodes.unreachable, 'control cannot be reached, or has to be asked again later'],
  [exitCodes.signedOut, 'not signed in, or the certificate has ended or was revoked'],
  [exitCodes.conflict, 'conflict: it changed meanwhile, exists already or is over'],
  [exitCodes.unanswered, 'the request that was waited for ended without an answer'],
  [exitCodes.internal, 'a mistake in sally or in control'],
]

/** `sally connect` is the exception: its exit code is the one of the program it runs. */
export function exitCodeOf(code: ErrorCode): ExitCode {
  switch (code) {
    case 'usage':
    case 'config-invalid':
    case 'request-invalid':
    case 'payload-too-large':
    case 'sealed-file-invalid':
    case 'demo-in-production':
      return exitCodes.usage
    case 'access-denied':
    case 'not-allowed':
      return exitCodes.denied
    case 'not-found':
      return exitCodes.notFound
    case 'control-unreachable':
    case 'store-unavailable':
    case 'rate-limited':
    case 'sign-in-unavailable':
      return exitCodes.unreachable
    case 'evidence-missing':
    case 'evidence-invalid':
    case 'evidence-expired':
    case 'token-refused':
    case 'sign-in-refused':
      return exitCodes.signedOut
    case 'conflict':
    case 'audit-conflict':
    case 'audit-gap':
      return exitCodes.conflict
    case 'audit-corrupt':
    case 'client-missing':
      return exitCodes.negative
    default:
      return exitCodes.internal
  }
}
