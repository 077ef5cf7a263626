/** Sessions as the API shows them, from the view that the ingest keeps. */
import { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { id } from '../api/names.ts'
import type { SessionView, sessionsQuery } from '../api/shapes.ts'
import { decodeCursor, encodeCursor } from './cursor.ts'
import type { AuditContext } from './dependencies.ts'

/** Whose sessions may be seen: one person's, or everybody's. */
export interface SessionScope {
  readonly personId: string | undefined
}

const place = z.tuple([z.int().nonnegative(), id])

/** Newest first. */
export async function listSessions(
  { store, realm }: Pick<AuditContext, 'store' | 'realm'>,
  query: z.output<typeof sessionsQuery>,
  scope: SessionScope,
): Promise<{ items: SessionView[]; next: string | null }> {
  const values: unknown[] = [realm]
  const conditions = ['realm = $1']
  const filter = (condition: string, value: unknown): void => {
    if (value === undefined) return
    values.push(value)
    conditions.push(`${condition} $${values.length}`)
  }
  filter('person_id =', scope.personId)
  filter('person_email =', query.person)
  filter('resource =', query.resource)
  filter('grant_id =', query.grant)
  if (query.state === 'live') conditions.push('closed_at_ms is null')
  if (query.state === 'closed') conditions.push('closed_at_ms is not null')
  if (query.cursor !== undefined) {
    const [openedAtMs, session] = decodeCursor(place, query.cursor)
    conditions.push(`(opened_at_ms, session_id) < ($${values.length + 1}, $${values.length + 2})`)
    values.push(openedAtMs, session)
  }
  const rows = await store.query<Row>(
    `select *, ${countRecordings} from sessions where ${conditions.join(' and ')}
     order by opened_at_ms desc, session_id desc limit ${query.limit + 1}`,
    values,
  )
  const items = rows.slice(0, query.limit).map(viewOf)
  const last = items.at(-1)
  const more = rows.length > query.limit && last !== undefined
  return { items, next: more ? encodeCursor([last.openedAtMs, last.id]) : null }
}

/** Rejects with `not-found`, also for a session that is outside of the scope. */
export async function getSession(
  { store, realm }: Pick<AuditContext, 'store' | 'realm'>,
  sessionId: string,
  scope: SessionScope,
): Promise<SessionView> {
  const [row] = await store.query<Row>(
    `select *, ${countRecordings} from sessions where realm = $1 and session_id = $2`,
    [realm, sessionId],
  )
  if (row === undefined || (scope.personId !== undefined && row.person_id !== scope.personId)) {
    throw new SallyportError('not-found', `no session ${sessionId}`, {
      clientMessage: 'there is no such session',
      hint: 'sally sessions lists those that you may see',
    })
  }
  return viewOf(row)
}

const countRecordings = `(
  select count(*) from recordings r where r.realm = sessions.realm and r.session_id = sessions.session_id
) as recordings`

interface Row {
  session_id: string
  proxy_id: string
  person_id: string
  person_email: string
  grant_id: string
  resource: string
  protocol: SessionView['protocol']
  level: SessionView['level']
  account: string
  remote_address: string
  certificate_serial: string
  attributes: Record<string, string>
  admitted_by: SessionView['admittedBy']
  opened_at_ms: number
  closed_at_ms: number | null
  end_reason: string | null
  cut_reason: string | null
  cut_ordered_at_ms: number | null
  cut_last_byte_at_ms: number | null
  cut_closed_at_ms: number | null
  statements: number
  bytes_up: number
  bytes_down: number
  recordings: number
}

function viewOf(row: Row): SessionView {
  return {
    id: row.session_id,
    state: row.closed_at_ms === null ? 'live' : 'closed',
    personId: row.person_id,
    personEmail: row.person_email,
    grantId: row.grant_id,
    resource: row.resource,
    protocol: row.protocol,
    level: row.level,
    account: row.account,
    proxyId: row.proxy_id,
    remoteAddress: row.remote_address,
    attributes: row.attributes,
    admittedBy: row.admitted_by,
    evidence: {
      // A serial number is hex without dashes; the id of a token is a UUID.
      kind: row.certificate_serial.includes('-') ? 'token' : 'certificate',
      id: row.certificate_serial,
    },
    openedAtMs: row.opened_at_ms,
    closedAtMs: row.closed_at_ms,
    endReason: row.end_reason,
    cut:
      row.cut_reason === null || row.cut_ordered_at_ms === null
        ? null
        : {
            reason: row.cut_reason,
            orderedAtMs: row.cut_ordered_at_ms,
            lastByteAtMs: row.cut_last_byte_at_ms,
            closedAtMs: row.cut_closed_at_ms,
          },
    statements: row.statements,
    bytesUp: row.bytes_up,
    bytesDown: row.bytes_down,
    recordings: row.recordings,
  }
}
