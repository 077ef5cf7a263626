/** Activities as the API shows them, from rows of the index. */
import type { ActivityParameter } from '../api/activity.ts'
import type { ActivityView } from '../api/shapes.ts'
import { kindName, statusName } from './index-rows.ts'

/** Joined after whatever `rows` selects (`a.*`) and limits: the index alone finds the rows. To be ordered by the caller. */
export function selectActivities(rows: string): string {
  return `select a.*, c.proxy_id, c.epoch, s.protocol, s.level,
      a.outcome_status is null and s.end_reason = 'proxy-lost'
        and p.indexed_sequence >= c.last_sequence as outcome_lost
    from (${rows}) a
      join audit_chains c using (chain_id)
      join index_progress p using (chain_id)
      join sessions s on s.realm = a.realm and s.session_id = a.session_id`
}

export interface ActivityViewRow {
  at_us: number
  chain_id: number
  sequence: number
  session_id: string
  person_email: string
  resource: string
  kind: number
  text: string
  text_blob: string | null
  text_blob_bytes: number | null
  prepared_name: string
  parameters: ActivityParameter[]
  parameters_blob: string | null
  parameters_blob_bytes: number | null
  redacted: boolean
  outcome_status: number | null
  outcome_rows: number | null
  outcome_bytes_up: number | null
  outcome_bytes_down: number | null
  outcome_duration_us: number | null
  outcome_tag: string | null
  outcome_error_code: string | null
  outcome_error_text: string | null
  proxy_id: string
  epoch: string
  protocol: ActivityView['protocol']
  level: ActivityView['level']
  /** Its proxy died before it said how this went. */
  outcome_lost: boolean | null
  recording: number | null
  recording_at_us: number | null
}

const blobOf = (sha256: string | null, bytes: number | null): ActivityView['textBlob'] =>
  sha256 === null ? null : { sha256, bytes: bytes ?? 0 }

export function viewOf(row: ActivityViewRow): ActivityView {
  return {
    proxyId: row.proxy_id,
    epoch: row.epoch,
    sequence: row.sequence,
    sessionId: row.session_id,
    personEmail: row.person_email,
    resource: row.resource,
    protocol: row.protocol,
    level: row.level,
    kind: kindName(row.kind),
    atUs: row.at_us,
    text: row.text,
    textBlob: blobOf(row.text_blob, row.text_blob_bytes),
    preparedName: row.prepared_name,
    parameters: row.parameters,
    parametersBlob: blobOf(row.parameters_blob, row.parameters_blob_bytes),
    redacted: row.redacted,
    ...(row.recording === null
      ? {}
      : { recording: { number: row.recording, atUs: row.recording_at_us ?? 0 } }),
    outcome: outcomeOf(row),
  }
}

function outcomeOf(row: ActivityViewRow): ActivityView['outcome'] {
  const lost = row.outcome_lost === true && row.recording === null
  if (row.outcome_status === null && !lost) return null
  return {
    status: row.outcome_status === null ? 'unknown' : statusName(row.outcome_status),
    rows: row.outcome_rows,
    bytesUp: row.outcome_bytes_up ?? 0,
    bytesDown: row.outcome_bytes_down ?? 0,
    durationUs: row.outcome_duration_us ?? 0,
    tag: row.outcome_tag ?? '',
    errorCode: row.outcome_error_code ?? '',
    errorText: row.outcome_error_text ?? '',
  }
}
