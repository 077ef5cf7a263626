import { randomUUID } from 'node:crypto'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Sql } from '../store/store.ts'
import type { AuditContext } from './dependencies.ts'

export interface LegalHold {
  readonly kind: 'session' | 'person' | 'resource'
  /** A session's id, a person's e-mail address or a resource's name. */
  readonly selector: string
  readonly reason: string
  /** E-mail address. */
  readonly madeBy: string
}

/** Holds and retention exclude each other: a hold that was placed is honoured from then on. */
export async function lockHolds(sql: Sql): Promise<void> {
  await sql.query(`select pg_advisory_xact_lock(hashtext('sallyport-audit-holds'))`)
}

/** Stops retention for what the hold names; returns the hold's id. The caller has checked rights and audits it. */
export async function placeLegalHold(
  { store, realm, clock }: Pick<AuditContext, 'store' | 'realm' | 'clock'>,
  hold: LegalHold,
): Promise<string> {
  const holdId = randomUUID()
  await store.transaction(async (sql) => {
    await lockHolds(sql)
    await sql.query(
      `insert into legal_holds (hold_id, realm, kind, selector, reason, made_by, made_at_ms)
       values ($1, $2, $3, $4, $5, $6, $7)`,
      [
        holdId,
        realm,
        hold.kind,
        hold.selector.toLowerCase(),
        hold.reason,
        hold.madeBy,
        Math.floor(clock.wallMs()),
      ],
    )
  })
  return holdId
}

/** Lets retention go on. Rejects with `not-found`. */
export async function releaseLegalHold(
  { store, realm, clock }: Pick<AuditContext, 'store' | 'realm' | 'clock'>,
  holdId: string,
  releasedBy: string,
): Promise<void> {
  const rows = await store.query(
    `update legal_holds set released_by = $3, released_at_ms = $4
     where realm = $1 and hold_id = $2 and released_at_ms is null returning hold_id`,
    [realm, holdId, releasedBy, Math.floor(clock.wallMs())],
  )
  if (rows.length === 0) {
    throw new SallyportError('not-found', `no legal hold ${holdId}`, {
      clientMessage: 'there is no such legal hold, or it was released already',
    })
  }
}
