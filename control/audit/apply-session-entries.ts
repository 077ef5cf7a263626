/**
 * Keeps the view of sessions up with the entries, in the transaction that stores them. A proxy speaks for its own sessions
 * only: an entry about another's changes nothing and is counted as an anomaly.
 */
import type { z } from 'zod'
import { proxyStarted } from '../api/audit/metas.ts'
import type { Sql } from '../store/store.ts'
import type { AuditContext } from './dependencies.ts'
import { parseMeta, sessionClosedMeta, sessionCutMeta, sessionOpenedMeta } from './entry-metas.ts'
import type { ReceivedChunk, SessionEntry } from './received-chunk.ts'

interface Change<T> {
  session_id: string
  at_ms: number
  meta: T
}

interface Changes {
  opened: Change<z.output<typeof sessionOpenedMeta>>[]
  cut: Change<z.output<typeof sessionCutMeta>>[]
  closed: Change<z.output<typeof sessionClosedMeta>>[]
  lost: { session_id: string; at_ms: number }[]
  anomalies: number
}

const uuidForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** The entries' metas, checked; before the transaction, because the classes of keys come from here. */
export function readSessionEntries(entries: readonly SessionEntry[]): Changes {
  const changes: Changes = { opened: [], cut: [], closed: [], lost: [], anomalies: 0 }
  for (const entry of entries) {
    if (!readOne(entry, changes)) changes.anomalies += 1
  }
  return changes
}

function readOne(entry: SessionEntry, changes: Changes): boolean {
  const at_ms = Math.floor(entry.atUs / 1_000)
  if (entry.type === 'proxy-started') {
    const started = parseMeta(proxyStarted, entry.meta)
    for (const session_id of started?.lostSessions ?? []) {
      if (uuidForm.test(session_id)) changes.lost.push({ session_id, at_ms })
    }
    return started !== undefined
  }
  const session_id = entry.sessionId
  if (session_id === undefined) return false
  const add = <T>(list: Change<T>[], meta: T | undefined): boolean => {
    if (meta !== undefined) list.push({ session_id, at_ms, meta })
    return meta !== undefined
  }
  if (entry.type === 'session-opened') {
    return add(changes.opened, parseMeta(sessionOpenedMeta, entry.meta))
  }
  if (entry.type === 'session-cut') return add(changes.cut, parseMeta(sessionCutMeta, entry.meta))
  return add(changes.closed, parseMeta(sessionClosedMeta, entry.meta))
}

/** Applies the changes. Rows come in the order of their keys, so that two proxies never wait for each other. */
export async function applySessionEntries(
  sql: Sql,
  { realm, log, metrics }: Pick<AuditContext, 'realm' | 'log' | 'metrics'>,
  { proxyId, chainId, nowMs }: { proxyId: string; chainId: number; nowMs: number },
  changes: Changes,
  activities: ReceivedChunk['activities'],
): Promise<void> {
  const own = [realm, proxyId]
  let { anomalies } = changes
  if (changes.opened.length > 0) {
    const rows = await sql.query(insertOpened, [
      ...own,
      chainId,
      JSON.stringify(changes.opened),
      nowMs,
    ])
    anomalies += changes.opened.length - rows.length
  }
  if (activities.size > 0) {
    const counts = [...activities].map(([session_id, count]) => ({ session_id, count }))
    await sql.query(countActivities, [...own, JSON.stringify(counts), nowMs])
  }
  if (changes.cut.length > 0) {
    const rows = await sql.query(updateCut, [...own, JSON.stringify(changes.cut), nowMs])
    anomalies += changes.cut.length - rows.length
  }
  if (changes.closed.length > 0) {
    const rows = await sql.query(updateClosed, [...own, JSON.stringify(changes.closed), nowMs])
    anomalies += changes.closed.length - rows.length
  }
  if (changes.lost.length > 0) {
    await sql.query(insertLost, [...own, JSON.stringify(changes.lost)])
  }
  if (changes.lost.length > 0 || changes.opened.length > 0) await sql.query(closeLost, own)
  if (anomalies > 0) {
    metrics.anomalies(anomalies)
    log.error(
      { proxyId, chainId, anomalies },
      'audit entries of a proxy do not fit its sessions; they are stored, and the view leaves them out',
    )
  }
}

const insertOpened = `
  insert into sessions (
    realm, proxy_id, chain_id, session_id, person_id, person_email, grant_id, grant_revision, resource,
    protocol, level, account, upstream, remote_address, certificate_serial, attributes, retention_class,
    durability, admitted_by, expires_at_ms, opened_at_ms, received_at_ms)
  select $1::text, $2::uuid, $3::bigint, u.session_id, m."personId", m."personEmail", m."grantId", m."grantRevision",
    m.resource, m.protocol, m.level, m.account, m.upstream, m."remoteAddress", m."certificateSerial",
    m.attributes, m.retention, m.durability, m."admittedBy", m."expiresAtMs", u.at_ms, $5::bigint
  from json_to_recordset($4::json) u (session_id uuid, at_ms bigint, meta json),
    json_to_record(u.meta) m ("personId" uuid, "personEmail" text, "grantId" uuid,
      "grantRevision" bigint, resource text, protocol text, level text, account text, upstream text,
      "remoteAddress" text, "certificateSerial" text, attributes jsonb, retention text, durability text,
      "admittedBy" text, "expiresAtMs" bigint)
  order by u.session_id
  on conflict (realm, session_id) do nothing returning session_id`

const countActivities = `
  update sessions s
  set statements = s.statements + case when s.closed_at_ms is null then u.count else 0 end,
    received_at_ms = $4::bigint
  from (
    select * from json_to_recordset($3::json) r (session_id uuid, count bigint)
    order by r.session_id) u
  where s.realm = $1 and s.proxy_id = $2 and s.session_id = u.session_id`

const updateCut = `
  update sessions s
  set cut_reason = m.reason, cut_ordered_at_ms = m."orderedAtMs",
    received_at_ms = $4::bigint
  from json_to_recordset($3::json) u (session_id uuid, at_ms bigint, meta json),
    json_to_record(u.meta) m (reason text, "orderedAtMs" bigint)
  where s.realm = $1 and s.proxy_id = $2 and s.session_id = u.session_id and s.cut_reason is null
  returning s.session_id`

const updateClosed = `
  update sessions s
  set closed_at_ms = u.at_ms, end_reason = m.reason, end_error = m.error,
    cut_reason = coalesce(c.reason, s.cut_reason),
    cut_ordered_at_ms = coalesce(c."orderedAtMs", s.cut_ordered_at_ms),
    cut_last_byte_at_ms = c."lastByteAtMs", cut_closed_at_ms = c."closedAtMs",
    statements = m.statements, bytes_up = m."bytesUp", bytes_down = m."bytesDown",
    received_at_ms = $4::bigint
  from json_to_recordset($3::json) u (session_id uuid, at_ms bigint, meta json),
    json_to_record(u.meta) m (reason text, error text, cut json, statements bigint, "bytesUp" bigint,
      "bytesDown" bigint),
    json_to_record(coalesce(m.cut, '{}')) c (reason text, "orderedAtMs" bigint,
      "lastByteAtMs" bigint, "closedAtMs" bigint)
  where s.realm = $1 and s.proxy_id = $2 and s.session_id = u.session_id
    and (s.closed_at_ms is null or s.end_reason = 'proxy-lost')
  returning s.session_id`

const insertLost = `
  insert into lost_sessions (realm, proxy_id, session_id, lost_at_ms)
  select $1::text, $2::uuid, u.session_id, u.at_ms
  from json_to_recordset($3::json) u (session_id uuid, at_ms bigint)
  order by u.session_id on conflict do nothing`

const closeLost = `
  update sessions s
  set closed_at_ms = greatest(l.lost_at_ms, s.opened_at_ms), end_reason = 'proxy-lost'
  from lost_sessions l
  where l.realm = $1 and l.proxy_id = $2 and s.realm = l.realm and s.proxy_id = l.proxy_id
    and s.session_id = l.session_id and s.closed_at_ms is null`
