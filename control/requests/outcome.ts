/** What an approved request comes to, given what is there at that moment: pure. */
import type { Level } from '../api/names.ts'
import { isAmong, type Somebody } from '../flows/choose-flow.ts'
import { stateOf, type GrantRow } from '../grants/grant-row.ts'
import { conflict } from '../refusals.ts'
import { agreedTerms, type KeptRequest } from './access-request.ts'
import type { Offered } from './ask.ts'
import { extendedEnd } from './decide.ts'

export interface Circumstances {
  /** Whose request it is. */
  readonly person: Somebody & { readonly active: boolean }
  /** Undefined: there is none of that name any more. */
  readonly resource: Offered | undefined
  /** The grant that an extension is for. */
  readonly grant: Pick<GrantRow, 'expiresAtMs' | 'revokedAtMs'> | undefined
  readonly atMs: number
}

/** A grant with this level and end, or this end for the grant that it extends. Throws `conflict` if it can be neither. */
export function outcomeOf(
  approved: KeptRequest,
  { person, resource, grant, atMs }: Circumstances,
): { level: Level; expiresAtMs: number } {
  if (!person.active) {
    throw conflict(`${person.email} is revoked`, 'restore the person first, or deny the request')
  }
  if (!isAmong(approved.flow.who, person)) {
    throw conflict(
      `flow ${approved.flow.name} does not let ${person.email} ask any more`,
      'deny the request',
    )
  }
  if (resource === undefined) {
    throw conflict(`${approved.resource} was removed meanwhile`, 'deny the request')
  }
  const { level, forMs } = agreedTerms(approved)
  if (resource.levels[level] === undefined) {
    throw conflict(
      `${resource.name} does not offer level ${level} any more`,
      'approve a lower level, or deny the request',
    )
  }
  if (approved.kind === 'access') return { level, expiresAtMs: atMs + forMs }
  if (grant === undefined || stateOf(grant, atMs) !== 'live') {
    throw conflict('the grant has ended already', `ask anew: sally request ${resource.name}`)
  }
  return { level, expiresAtMs: extendedEnd(approved, grant.expiresAtMs, forMs, atMs) }
}
