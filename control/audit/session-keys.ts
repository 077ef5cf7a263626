import type { AuditContext } from './dependencies.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Sql } from '../store/store.ts'
import { classesMax, defaultClass } from './retention-classes.ts'

/** Where the keys of sessions are: for what was done and shown, and for what was typed unseen. */
export type KeyTable = 'audit_session_keys' | 'audit_hidden_keys'

/** Stands for the session of payloads that belong to none. */
export const noSession = '00000000-0000-0000-0000-000000000000'

interface KeyRow {
  session_id: string
  retention_class: string
  wrapped: Buffer | null
}

type Context = Pick<AuditContext, 'store' | 'envelope' | 'clock' | 'realm'>

/**
 * The data keys of sessions, made where there is none. `wanted` maps each session to its retention class, or to
 * undefined where that is not known yet (a blob may arrive before its session was opened); the class is set
 * right once it is. A destroyed key is replaced by a new one, so that what comes late is kept for its time too.
 * Not to be called inside a transaction.
 */
export async function ensureSessionKeys(
  context: Context,
  proxyId: string,
  wanted: ReadonlyMap<string, string | undefined>,
  table: KeyTable = 'audit_session_keys',
): Promise<Map<string, Buffer>> {
  const { store, envelope, realm } = context
  const keys = new Map<string, Buffer>()
  // The second round reads what another replica made meanwhile.
  for (let round = 0; keys.size < wanted.size && round < 3; round += 1) {
    const left = [...wanted.keys()].filter((session) => !keys.has(session))
    const rows = await readKeys(store, realm, proxyId, left, table)
    for (const row of rows) {
      if (row.wrapped === null) continue
      const subject = keySubject(proxyId, row.session_id, table)
      const key = await envelope.openDataKey(realm, row.retention_class, row.wrapped, subject)
      const retentionClass = wanted.get(row.session_id)
      if (retentionClass !== undefined && retentionClass !== row.retention_class) {
        await changeClass(context, proxyId, row, key, retentionClass, table)
      }
      keys.set(row.session_id, key)
    }
    const missing = left.filter((session) => !keys.has(session))
    if (missing.length > 0) await createKeys(context, proxyId, missing, wanted, table)
  }
  if (keys.size < wanted.size) throw new SallyportError('internal', 'session keys cannot be made')
  return keys
}

/** The data keys of sessions that have one; destroyed ones are left out. Not inside a transaction. */
export async function openSessionKeys(
  { store, envelope, realm }: Omit<Context, 'clock'>,
  proxyId: string,
  sessions: readonly string[],
  table: KeyTable = 'audit_session_keys',
): Promise<Map<string, Buffer>> {
  const keys = new Map<string, Buffer>()
  for (const row of await readKeys(store, realm, proxyId, sessions, table)) {
    if (row.wrapped === null) continue
    const subject = keySubject(proxyId, row.session_id, table)
    keys.set(
      row.session_id,
      await envelope.openDataKey(realm, row.retention_class, row.wrapped, subject),
    )
  }
  return keys
}

/**
 * Locks the keys of sessions against retention until the end of the transaction and says which of them are destroyed.
 */
export async function destroyedKeys(
  sql: Sql,
  realm: string,
  proxyId: string,
  sessions: readonly string[],
): Promise<Set<string>> {
  if (sessions.length === 0) return new Set()
  const rows = await sql.query<{ session_id: string; destroyed: boolean }>(
    `select session_id, wrapped is null as destroyed from audit_session_keys
     where realm = $1 and proxy_id = $2 and session_id = any($3::uuid[])
     order by session_id for share`,
    [realm, proxyId, sessions],
  )
  return new Set(rows.filter((row) => row.destroyed).map((row) => row.session_id))
}

async function readKeys(
  sql: Sql,
  realm: string,
  proxyId: string,
  sessions: readonly string[],
  table: KeyTable,
): Promise<KeyRow[]> {
  if (sessions.length === 0) return []
  return sql.query<KeyRow>(
    `select session_id, retention_class, wrapped from ${table}
     where realm = $1 and proxy_id = $2 and session_id = any($3::uuid[])`,
    [realm, proxyId, sessions],
  )
}

async function createKeys(
  { store, envelope, clock, realm }: Context,
  proxyId: string,
  sessions: readonly string[],
  wanted: ReadonlyMap<string, string | undefined>,
  table: KeyTable,
): Promise<void> {
  const classes = await knownClasses(store, realm)
  const rows: { session_id: string; retention_class: string; wrapped: string }[] = []
  for (const session of sessions) {
    const asked = wanted.get(session) ?? defaultClass
    // A proxy names the class; it must not be able to make us keep keys without end.
    const retentionClass = classes.has(asked) || classes.size < classesMax ? asked : defaultClass
    classes.add(retentionClass)
    const subject = keySubject(proxyId, session, table)
    const { wrapped } = await envelope.createDataKey(realm, retentionClass, subject)
    rows.push({
      session_id: session,
      retention_class: retentionClass,
      wrapped: wrapped.toString('hex'),
    })
  }
  await store.query(
    `insert into ${table} as stored
       (realm, proxy_id, session_id, retention_class, wrapped, created_at_ms)
     select $1::text, $2::uuid, u.session_id, u.retention_class, decode(u.wrapped, 'hex'), $3::bigint
     from json_to_recordset($4::json) u (session_id uuid, retention_class text, wrapped text)
     order by u.session_id
     on conflict (realm, proxy_id, session_id) do update
     set wrapped = excluded.wrapped, retention_class = excluded.retention_class,
         destroyed_at_ms = null
     where stored.wrapped is null`,
    [realm, proxyId, Math.floor(clock.wallMs()), JSON.stringify(rows)],
  )
}

async function changeClass(
  { store, envelope, realm }: Context,
  proxyId: string,
  row: KeyRow,
  key: Buffer,
  asked: string,
  table: KeyTable,
): Promise<void> {
  const classes = await knownClasses(store, realm)
  if (!classes.has(asked) && classes.size >= classesMax) return
  const subject = keySubject(proxyId, row.session_id, table)
  const wrapped = await envelope.rewrap(realm, asked, key, subject)
  await store.query(
    `update ${table} set retention_class = $1, wrapped = $2
     where realm = $3 and proxy_id = $4 and session_id = $5 and wrapped = $6`,
    [asked, wrapped, realm, proxyId, row.session_id, row.wrapped],
  )
}

async function knownClasses(sql: Sql, realm: string): Promise<Set<string>> {
  const rows = await sql.query<{ name: string }>(
    `select name from retention_classes where realm = $1
     union select retention_class from class_keys where realm = $1`,
    [realm],
  )
  return new Set(rows.map((row) => row.name))
}

function keySubject(proxyId: string, session: string, table: KeyTable): string {
  return `${proxyId}|${session}${table === 'audit_hidden_keys' ? '|hidden' : ''}`
}
