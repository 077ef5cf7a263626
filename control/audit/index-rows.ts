/** Entries as rows of the search index. */
import {
  activityKinds,
  decodeActivity,
  outcomeStatuses,
  type ActivityKind,
  type ActivityParameter,
  type DecodedActivity,
} from '../api/activity.ts'
import { decodeOutcomeMeta, type Entry } from '../api/audit/decode.ts'
import { saltBytes } from '../api/audit/format.ts'
import { cleanText, cutText } from './clean-text.ts'

/** Characters of a text that are indexed; a proxy spills texts above 32 KiB to a blob and leaves their beginning. */
export const indexedTextMax = 64 * 1024
/** Characters of all parameters of one activity that are indexed. */
export const indexedParametersMax = 64 * 1024

/** Columns as they go through `json_to_recordset`. */
export interface ActivityRow {
  at_us: number
  sequence: number
  session_id: string
  kind: number
  text: string
  text_blob?: string
  text_blob_bytes?: number
  prepared_name: string
  parameters: ActivityParameter[]
  parameters_blob?: string
  parameters_blob_bytes?: number
  redacted: boolean
  outcome?: OutcomeRow
}

export interface OutcomeRow {
  /** Sequence of the activity. */
  reference: number
  status: number
  rows: number | null
  bytes_up: number
  bytes_down: number
  duration_us: number
  tag: string
  error_code: string
  error_text: string
}

/** The row of an activity; undefined where it cannot be understood. `payload` has its salt. */
export function activityRow(entry: Entry, payload: Buffer): ActivityRow | undefined {
  const activity = decodeFields(payload)
  const kind = entry.meta[0]
  if (activity === undefined || kind === undefined || entry.sessionId === undefined)
    return undefined
  const { textBlob, parametersBlob } = activity
  return {
    at_us: entry.atUs,
    sequence: entry.sequence,
    session_id: entry.sessionId,
    kind,
    text: cutText(cleanText(textOf(activity)), indexedTextMax),
    ...(textBlob && { text_blob: textBlob.sha256, text_blob_bytes: textBlob.bytes }),
    prepared_name: cutText(cleanText(activity.preparedName), 1_024),
    parameters: boundParameters(activity.parameters),
    ...(parametersBlob && {
      parameters_blob: parametersBlob.sha256,
      parameters_blob_bytes: parametersBlob.bytes,
    }),
    redacted: activity.redacted,
  }
}

/** A transfer or a request has no text of its own: what it was about is what people look for. */
function textOf({ text, path, target }: DecodedActivity): string {
  return text === '' ? [path, target].filter((part) => part !== undefined).join(' ') : text
}

function boundParameters(parameters: readonly ActivityParameter[]): ActivityParameter[] {
  let left = indexedParametersMax
  return parameters.map((parameter) => {
    if (parameter.form === 'null') return parameter
    const whole = parameter.form === 'text' ? cleanText(parameter.value) : parameter.hex
    const value = cutText(whole, Math.max(1, left))
    left -= value.length
    if (parameter.form === 'text') return { form: 'text', value }
    // A cut hex text is not hex any more: show it as text, with its mark.
    return value === whole ? { form: 'binary', hex: value } : { form: 'text', value }
  })
}

/** The row of an outcome; undefined where it cannot be understood. */
export function outcomeRow(entry: Entry, payload: Buffer | undefined): OutcomeRow | undefined {
  try {
    const meta = decodeOutcomeMeta(entry.meta)
    return {
      reference: entry.reference,
      status: outcomeStatuses[meta.status],
      rows: meta.rows < 0 ? null : meta.rows,
      bytes_up: meta.bytesUp,
      bytes_down: meta.bytesDown,
      duration_us: meta.durationUs,
      tag: cleanText(meta.tag),
      error_code: cutText(cleanText(meta.errorCode), 64),
      error_text: cutText(cleanText(payload?.toString('utf8', saltBytes) ?? ''), 8_192),
    }
  } catch {
    return undefined
  }
}

function decodeFields(payload: Buffer): DecodedActivity | undefined {
  try {
    return decodeActivity(payload.subarray(saltBytes))
  } catch {
    return undefined
  }
}

const kindNames = new Map<number, ActivityKind>(
  Object.entries(activityKinds).map(([name, number]) => [number, name as ActivityKind]),
)
const statusNames = new Map<number, keyof typeof outcomeStatuses>(
  Object.entries(outcomeStatuses).map(([name, number]) => [
    number,
    name as keyof typeof outcomeStatuses,
  ]),
)

/** Of rows that hold what a terminal showed; proxies have no such kind. */
export const terminalOutputKind = 255

/** The name of a kind; a newer proxy may know kinds that we do not. */
export function kindName(kind: number): string {
  if (kind === terminalOutputKind) return 'terminal-output'
  return kindNames.get(kind) ?? `kind-${kind}`
}

export function statusName(status: number): keyof typeof outcomeStatuses {
  return statusNames.get(status) ?? 'unknown'
}
