/** Recordings as the API shows them. */
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { RecordingView } from '../api/recording-shapes.ts'
import type { AuditContext } from './dependencies.ts'

type Scope = Pick<AuditContext, 'store' | 'realm'>

/** In a list; a session may have ten thousand commands that are long. */
const listedTitleMax = 256

/**
 * All recordings of a session, in order. `payloads`: with what was typed and shown (titles, cut where they are long). The caller has
 * checked rights.
 */
export async function listRecordings(
  scope: Scope,
  sessionId: string,
  payloads: boolean,
): Promise<RecordingView[]> {
  const rows = await readRows(scope, sessionId, undefined, listedTitleMax)
  return rows.map((row) => viewOf(row, payloads))
}

/** Where a recording is stored, besides how it is shown. */
export interface StoredRecording {
  readonly view: RecordingView
  readonly proxyId: string
  readonly chainId: number
  readonly epoch: string
  /** No part will come any more. */
  readonly over: boolean
}

/** Rejects with `not-found`. */
export async function getRecording(
  scope: Scope,
  sessionId: string,
  number: number,
): Promise<StoredRecording> {
  const [row] = await readRows(scope, sessionId, number, titleMax)
  if (row === undefined) {
    throw new SallyportError('not-found', `no recording ${number} of session ${sessionId}`, {
      clientMessage: 'the session has no such recording',
      hint: `sally sessions show ${sessionId} lists those it has`,
    })
  }
  const { proxy_id: proxyId, chain_id: chainId, epoch } = row
  const over = row.ended_at_us !== null || (row.closed && row.whole)
  return { view: viewOf(row, true), proxyId, chainId, epoch, over }
}

/** As it is indexed. */
const titleMax = 8_192

interface Row {
  session_id: string
  number: number
  chain_id: number
  proxy_id: string
  epoch: string
  kind: RecordingView['kind']
  title: string | null
  activity: number
  columns: number | null
  rows: number | null
  term: string | null
  began_at_us: number
  lasted_us: number
  parts: number
  frames: number
  bytes: number
  lost_bytes: number | null
  digest: Buffer
  ended_at_us: number | null
  sealed: boolean | null
  streams: { streams: NonNullable<RecordingView['streams']> } | null
  closed: boolean
  proxy_lost: boolean | null
  whole: boolean
  exit_tag: string | null
}

function readRows(
  { store, realm }: Scope,
  sessionId: string,
  number: number | undefined,
  titleCharactersMax: number,
): Promise<Row[]> {
  return store.query<Row>(
    `select r.session_id, r.number, r.chain_id, r.kind, r.activity, r.columns, r.rows, r.term, r.began_at_us,
       r.lasted_us, r.parts, r.frames, r.bytes, r.lost_bytes, r.digest, r.ended_at_us, r.sealed, r.streams,
       case when length(r.title) > $4 then left(r.title, $4 - 1) || '…' else r.title end as title, s.proxy_id, c.epoch, s.closed_at_ms is not null as closed,
       s.end_reason = 'proxy-lost' as proxy_lost, p.indexed_sequence >= c.last_sequence as whole,
       (select a.outcome_tag from audit_activities a
        where a.realm = r.realm and a.session_id = r.session_id and a.chain_id = r.chain_id
          and a.sequence = r.activity and a.recording is null limit 1) as exit_tag
     from recordings r
       join sessions s on s.realm = r.realm and s.session_id = r.session_id
       join audit_chains c on c.chain_id = r.chain_id
       join index_progress p on p.chain_id = r.chain_id
     where r.realm = $1 and r.session_id = $2 and ($3::bigint is null or r.number = $3::bigint)
     order by r.number limit 10000`,
    [realm, sessionId, number ?? null, titleCharactersMax],
  )
}

function viewOf(row: Row, payloads: boolean): RecordingView {
  return {
    sessionId: row.session_id,
    number: row.number,
    kind: row.kind,
    state: stateOf(row),
    title: payloads ? row.title : null,
    activity: row.activity,
    columns: row.columns,
    rows: row.rows,
    term: payloads ? row.term : null,
    beganAtUs: row.began_at_us,
    lastedUs: row.lasted_us,
    parts: row.parts,
    frames: row.frames,
    bytes: row.bytes,
    lostBytes: row.lost_bytes ?? 0,
    digest: row.digest.toString('hex'),
    streams: payloads ? (row.streams?.streams ?? null) : null,
    exitStatus: row.exit_tag === null ? null : exitStatusOf(row.exit_tag),
    deleted: row.title === null,
  }
}

function stateOf(row: Row): RecordingView['state'] {
  if (row.ended_at_us !== null) return row.sealed === true ? 'sealed' : 'broken'
  if (!row.closed) return 'live'
  return row.proxy_lost === true && row.whole ? 'ended-with-proxy' : 'ended'
}

/** The tag of a channel's activity is the status that it exited with, where there is one. */
function exitStatusOf(tag: string): number | null {
  const digits = /^(?:exit )?(\d{1,9})$/.exec(tag)?.[1]
  return digits === undefined ? null : Number(digits)
}
