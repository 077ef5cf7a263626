/**
 * Deletes by law: once the days of its class are over, a session's key is destroyed, and with it payloads, blobs and
 * rows of the index. Skeletons stay, so that the chain still verifies.
 */
import { setImmediate } from 'node:timers/promises'
import type { Sql } from '../store/store.ts'
import type { AuditContext } from './dependencies.ts'
import { lockHolds } from './legal-hold.ts'
import { createPartitions } from './partitions.ts'
import { defaultClass, defaultDays, quarantineClass } from './retention-classes.ts'

export interface ExpiredSession {
  proxyId: string
  sessionId: string
  retentionClass: string
}

export interface RetentionOptions {
  /** Called before anything is deleted, for control's own chain: when it rejects, nothing is. */
  readonly announce: (expired: readonly ExpiredSession[]) => Promise<unknown>
  /** Sessions in one transaction. Default 20. */
  readonly sessionsAtOnce?: number
  /** Between two transactions; false ends the run early. */
  readonly proceed?: () => boolean
}

export interface RetentionResult {
  sessions: number
  quarantined: number
  partitionsDropped: string[]
}

/** One run over everything that is due. */
export async function runRetention(
  context: AuditContext,
  options: RetentionOptions,
): Promise<RetentionResult> {
  const result: RetentionResult = { sessions: 0, quarantined: 0, partitionsDropped: [] }
  for (;;) {
    const count = await expireSome(context, options)
    result.sessions += count
    if (count === 0 || options.proceed?.() === false) break
    await setImmediate()
  }
  result.quarantined = await expireQuarantine(context)
  try {
    result.partitionsDropped = await createPartitions(context.store, context.clock).dropEmpty()
  } catch (error) {
    // A search holds one of them: the next run drops it.
    context.log.warn({ error }, 'empty partitions of the index could not be dropped this time')
  }
  return result
}

interface DueRow {
  proxy_id: string
  session_id: string
  retention_class: string
}

const dueSessions = `
  select k.proxy_id, k.session_id, k.retention_class
  from audit_session_keys k
    left join sessions s
      on s.realm = k.realm and s.session_id = k.session_id and s.proxy_id = k.proxy_id
    left join retention_classes c on c.realm = k.realm and c.name = k.retention_class
    left join retention_classes d on d.realm = k.realm and d.name = '${defaultClass}'
  where k.realm = $1 and k.destroyed_at_ms is null and not k.legal_hold
    and (s.session_id is null or s.closed_at_ms is not null or s.expires_at_ms < $2)
    and greatest(k.created_at_ms, s.received_at_ms) + coalesce(c.days, d.days, ${defaultDays}) * 86400000::bigint < $2
    and not exists (
      select 1 from legal_holds h
      where h.realm = k.realm and h.released_at_ms is null and (
        (h.kind = 'session' and h.selector = k.session_id::text)
        or (h.kind = 'person' and h.selector = s.person_email)
        or (h.kind = 'resource' and h.selector = s.resource)))
  order by k.session_id limit $3
  for update of k skip locked`

async function expireSome(context: AuditContext, options: RetentionOptions): Promise<number> {
  const { store, realm, clock, metrics, log } = context
  const count = await store.transaction(async (sql) => {
    await lockHolds(sql)
    const nowMs = Math.floor(clock.wallMs())
    const due = await sql.query<DueRow>(dueSessions, [realm, nowMs, options.sessionsAtOnce ?? 20])
    if (due.length === 0) return 0
    await options.announce(
      due.map((row) => ({
        proxyId: row.proxy_id,
        sessionId: row.session_id,
        retentionClass: row.retention_class,
      })),
    )
    for (const row of due) await destroySession(sql, realm, row, nowMs)
    return due.length
  })
  if (count > 0) {
    metrics.expired(count)
    log.info({ sessions: count }, 'payloads of sessions were deleted: their retention is over')
  }
  return count
}

async function destroySession(
  sql: Sql,
  realm: string,
  { proxy_id, session_id }: DueRow,
  nowMs: number,
): Promise<void> {
  const own = [realm, session_id, proxy_id]
  const ofProxy = `realm = $1 and session_id = $2
    and chain_id in (select chain_id from audit_chains where realm = $1 and proxy_id = $3)`
  await sql.query(
    `update audit_session_keys set wrapped = null, destroyed_at_ms = $4
     where realm = $1 and session_id = $2 and proxy_id = $3`,
    [...own, nowMs],
  )
  await sql.query(
    `update audit_hidden_keys set wrapped = null, destroyed_at_ms = $4
     where realm = $1 and session_id = $2 and proxy_id = $3`,
    [...own, nowMs],
  )
  await sql.query(`delete from audit_payloads where ${ofProxy}`, own)
  await sql.query(`delete from audit_hidden_payloads where ${ofProxy}`, own)
  await sql.query(`delete from recording_parts where ${ofProxy}`, own)
  await sql.query(
    `update recordings set title = null, columns = null, rows = null, term = null, streams = null, tail = ''
     where ${ofProxy}`,
    own,
  )
  await sql.query(`delete from audit_activities where ${ofProxy}`, own)
  await sql.query(`delete from pending_outcomes where ${ofProxy}`, own)
  await sql.query(
    'delete from audit_blobs where realm = $1 and session_id = $2 and proxy_id = $3',
    own,
  )
}

async function expireQuarantine({ store, realm, clock }: AuditContext): Promise<number> {
  const nowMs = Math.floor(clock.wallMs())
  const rows = await store.query(
    `update audit_quarantine q set wrapped = null, ciphertext = null, destroyed_at_ms = $2
     where q.realm = $1 and q.destroyed_at_ms is null
       and q.received_at_ms + 86400000::bigint * coalesce((
         select c.days from retention_classes c
         where c.realm = q.realm and c.name = '${quarantineClass}'), ${defaultDays}) < $2
     returning q.quarantine_id`,
    [realm, nowMs],
  )
  return rows.length
}
