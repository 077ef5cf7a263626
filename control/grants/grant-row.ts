import type { Level } from '../api/names.ts'
import type { Grant } from '../api/shapes.ts'
import { signToken } from '../api/tokens.ts'
import type { Control } from '../control.ts'
import { signingKeyOf } from '../keys/signing-key.ts'

/** A row of `grants`, less its token. */
export interface GrantRow {
  readonly id: string
  readonly revision: number
  readonly personId: string
  readonly personEmail: string
  readonly resource: string
  readonly level: Level
  readonly group: string
  readonly reason: string
  readonly madeBy: string
  readonly madeAtMs: number
  readonly expiresAtMs: number
  readonly revokedAtMs: number | null
  readonly revokedBy: string | null
  readonly revokeReason: string | null
}

export const grantColumns = `
  id, revision, person_id as "personId", person_email as "personEmail", resource, level,
  group_name as "group", reason, made_by as "madeBy", made_at_ms as "madeAtMs",
  expires_at_ms as "expiresAtMs", revoked_at_ms as "revokedAtMs", revoked_by as "revokedBy",
  revoke_reason as "revokeReason"`

export function stateOf(
  row: Pick<GrantRow, 'revokedAtMs' | 'expiresAtMs'>,
  atMs: number,
): Grant['state'] {
  if (row.revokedAtMs !== null) return 'revoked'
  return row.expiresAtMs <= atMs ? 'ended' : 'live'
}

export function viewOf(row: GrantRow, atMs: number): Grant {
  const { group: _, ...shown } = row
  return { ...shown, state: stateOf(row, atMs) }
}

/** Signs a grant as it is in `row`. */
export function signGrant(
  control: Pick<Control, 'realm' | 'keys'>,
  row: GrantRow,
  issuedAtMs: number,
): Promise<string> {
  const claims = {
    realm: control.realm,
    grantId: row.id,
    revision: row.revision,
    personId: row.personId,
    personEmail: row.personEmail,
    resource: row.resource,
    level: row.level,
    group: row.group,
    issuedAtMs,
    notBeforeMs: row.madeAtMs,
    expiresAtMs: row.expiresAtMs,
  }
  return signToken('grant', claims, signingKeyOf(control.keys.signers.grants))
}
