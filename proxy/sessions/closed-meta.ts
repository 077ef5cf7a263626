import type { SessionClosedMeta } from '../../control/api/audit/format.ts'
import type { CutReason, EndReason } from '../../protocols/session.ts'

const errorCharactersMax = 1_000

export interface SessionEnd {
  readonly reason: CutReason | EndReason
  readonly error: Error | undefined
  readonly cut: { readonly reason: CutReason; readonly orderedAtMs: number } | undefined
  /** Both on the monotonic clock. */
  readonly lastByteMs: number
  readonly closedMs: number
  /** The wall clock at `closedMs`. */
  readonly closedAtMs: number
  readonly statements: number
  readonly bytesUp: number
  readonly bytesDown: number
}

/** What the audit keeps of a session's end. */
export function closedMeta(end: SessionEnd): SessionClosedMeta {
  const { reason, error, cut, statements, bytesUp, bytesDown } = end
  return {
    reason,
    ...(error === undefined ? {} : { error: error.message.slice(0, errorCharactersMax) }),
    ...(cut === undefined
      ? {}
      : {
          cut: {
            ...cut,
            lastByteAtMs: Math.round(end.closedAtMs - (end.closedMs - end.lastByteMs)),
            closedAtMs: end.closedAtMs,
          },
        }),
    statements,
    bytesUp,
    bytesDown,
  }
}
