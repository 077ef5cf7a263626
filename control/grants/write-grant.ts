import type { Control } from '../control.ts'
import type { ControlAction } from '../server/handlers.ts'
import type { Sql } from '../store/store.ts'
import { signGrant, type GrantRow } from './grant-row.ts'

/** Writes and signs a grant that starts now. Chain and feed are the caller's. Returns the token for the feed. */
export async function insertGrant(
  sql: Sql,
  control: Pick<Control, 'realm' | 'keys'>,
  row: GrantRow,
  requestId: string | null,
): Promise<string> {
  const token = await signGrant(control, row, row.madeAtMs)
  await sql.query(
    `insert into grants (realm, id, revision, person_id, person_email, resource, level, group_name,
       reason, made_by, made_at_ms, expires_at_ms, token, request_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    [
      control.realm,
      row.id,
      row.revision,
      row.personId,
      row.personEmail,
      row.resource,
      row.level,
      row.group,
      row.reason,
      row.madeBy,
      row.madeAtMs,
      row.expiresAtMs,
      token,
      requestId,
    ],
  )
  return token
}

/** The record of a new grant in control's chain. */
export function grantMade(row: GrantRow, more: Record<string, unknown> = {}): ControlAction {
  return {
    action: 'grant.made',
    target: row.id,
    details: {
      person: row.personEmail,
      personId: row.personId,
      resource: row.resource,
      level: row.level,
      reason: row.reason,
      expiresAtMs: row.expiresAtMs,
      revision: row.revision,
      ...more,
    },
  }
}

/** Moves the end of a locked row. Chain and feed are the caller's. */
export async function moveEnd(
  sql: Sql,
  control: Pick<Control, 'realm' | 'keys'>,
  before: GrantRow,
  expiresAtMs: number,
  atMs: number,
): Promise<{ row: GrantRow; token: string }> {
  const row: GrantRow = { ...before, revision: before.revision + 1, expiresAtMs }
  const token = await signGrant(control, row, atMs)
  await sql.query(
    `update grants set revision = $3, expires_at_ms = $4, token = $5
     where realm = $1 and id = $2`,
    [control.realm, row.id, row.revision, row.expiresAtMs, token],
  )
  return { row, token }
}

/** The record of a moved end in control's chain. */
export function grantExtended(
  before: GrantRow,
  row: GrantRow,
  reason: string,
  more: Record<string, unknown> = {},
): ControlAction {
  return {
    action: 'grant.extended',
    target: row.id,
    details: {
      person: row.personEmail,
      resource: row.resource,
      level: row.level,
      reason,
      endedAtMs: before.expiresAtMs,
      expiresAtMs: row.expiresAtMs,
      revision: row.revision,
      ...more,
    },
  }
}
