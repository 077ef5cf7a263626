import { SallyportError } from '../../protocols/kit/errors.ts'
import { parseDuration } from '../api/duration.ts'

const iso = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?$/

/**
 * Reads "1h" (that long ago) or an ISO 8601 moment as Unix milliseconds. A date alone is midnight UTC, a time without
 * a zone is local (ECMAScript, Date Time String Format). Throws `usage`.
 */
export function parseMoment(text: string, nowMs: number): number {
  if (iso.test(text)) {
    const atMs = Date.parse(text)
    if (!Number.isNaN(atMs)) return atMs
  } else if (/^(\d{1,9}[smhd])+$/.test(text)) {
    return nowMs - parseDuration(text)
  }
  throw new SallyportError('usage', `not a moment: ${JSON.stringify(text)}`, {
    clientMessage: `${JSON.stringify(text)} is not a moment`,
    hint: 'write it like 15m, 2d (so long ago) or 2026-03-01T14:00:00Z',
  })
}
