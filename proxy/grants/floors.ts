/**
 * The lowest revision of each grant that still counts. A floor rises with every revision seen and with
 * every revocation, and stays until the grant would have ended by itself: so an old token that still verifies
 * is worth nothing, also after a restart in the middle of an outage.
 */
import type { GrantClaims } from '../../control/api/tokens.ts'

export interface Floor {
  grantId: string
  /** Lowest revision that is valid. */
  revision: number
  /** The latest end any revision named, Unix ms; absent while none was seen: then it is kept for good. */
  untilMs?: number | undefined
}

/** How long after a grant's end its floor is kept, so that a clock set back does not revive it. */
const slackMs = 86_400_000

export interface Floors {
  /** A revision was seen: lower ones no longer count. */
  seen(claims: GrantClaims): void
  /** Revisions below `revision` ended early. */
  raise(grantId: string, revision: number, untilMs?: number): void
  allows(claims: GrantClaims): boolean
  /** Forgets floors of grants that ended more than a day before `nowMs`. */
  prune(nowMs: number): void
  all(): Floor[]
}

export function createFloors(): Floors {
  const floors = new Map<string, Floor>()
  const raise = (grantId: string, revision: number, untilMs?: number): void => {
    const floor = floors.get(grantId)
    if (floor === undefined) {
      floors.set(grantId, { grantId, revision, untilMs })
      return
    }
    floor.revision = Math.max(floor.revision, revision)
    if (untilMs !== undefined) floor.untilMs = Math.max(floor.untilMs ?? 0, untilMs)
  }
  return {
    seen: (claims) => raise(claims.grantId, claims.revision, claims.expiresAtMs),
    raise,
    allows: (claims) => claims.revision >= (floors.get(claims.grantId)?.revision ?? 0),
    prune(nowMs) {
      for (const { grantId, untilMs } of floors.values()) {
        if (untilMs !== undefined && untilMs + slackMs < nowMs) floors.delete(grantId)
      }
    },
    all: () => [...floors.values()],
  }
}
