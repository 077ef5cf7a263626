import { notAllowed } from '../refusals.ts'
import type { PersonCaller } from './handlers.ts'

/** The certificate that a caller is there with. For routes that are closed to API tokens: a token makes nothing that lets somebody in. */
export function serialOf(caller: PersonCaller): string {
  if (caller.via === 'certificate') return caller.certificate.serial
  throw notAllowed('an API token cannot do this', 'use sally with a signed-in home')
}
