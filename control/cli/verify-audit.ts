/** Verification with a memory: the chains themselves, and the heads that this home saw before. */
import { verifySegments, type Damage, type VerificationReport } from '../api/audit/verify-chain.ts'
import type { AuditKeys, Segment } from '../api/shapes.ts'
import { readHead, type Head, type RememberedHeads } from './audit-heads.ts'

export interface AuditSource {
  readonly realm: string
  /** Control's clock when the segments were listed or exported. */
  readonly atMs: number
  /** Remembered heads up to this moment must be there. What control serves now must hold them all, whatever it says the time is. */
  readonly headsUntilMs: number
  readonly keys: AuditKeys['keys']
  readonly segments: AsyncIterable<Segment>
  /** What could not even be read as segments; complete once they have ended. */
  readonly damage: readonly Damage[]
}

export interface AuditVerdict extends VerificationReport {
  realm: string
  atMs: number
  heads: {
    /** Remembered ones that the chains had to hold. */
    compared: number
    /** Remembered ones that are newer than what was verified. */
    newer: number
  }
  /** Countersignature keys that this home had not seen before, when it had seen others. */
  newKeys: string[]
}

export interface Verified {
  verdict: AuditVerdict
  /** To be remembered: heads of chains without damage. */
  seen: { keys: string[]; heads: Head[] }
}

export async function verifyAudit(
  source: AuditSource,
  remembered: RememberedHeads,
): Promise<Verified> {
  const ofRealm = remembered.heads.filter(({ realm }) => realm === source.realm)
  const due = ofRealm.filter(({ atMs }) => atMs <= source.headsUntilMs)
  const newest = new Map<string, Head>()
  const report = await verifySegments(
    observed(source.segments, newest),
    { keys: [...source.keys] },
    { heads: due },
  )
  const damage = [...source.damage, ...report.damage]
  const countersigning = source.keys
    .filter(({ use }) => use === 'countersignature')
    .map(({ kid }) => kid)
  const damaged = new Set(report.damage.map(({ chain }) => chain))
  const sound = report.chains.flatMap(({ chain, epochs }) =>
    damaged.has(chain) || report.damageOmitted > 0
      ? []
      : epochs
          .filter(({ headSignedByControl }) => headSignedByControl)
          .map(({ epoch }) => newest.get(`${chain} ${epoch}`)),
  )
  return {
    verdict: {
      ...report,
      ok: report.ok && damage.length === 0,
      damage,
      realm: source.realm,
      atMs: source.atMs,
      heads: { compared: due.length, newer: ofRealm.length - due.length },
      newKeys:
        remembered.keys.length === 0
          ? []
          : countersigning.filter((kid) => !remembered.keys.includes(kid)),
    },
    seen: { keys: countersigning, heads: sound.filter((head) => head !== undefined) },
  }
}

/** Passes segments on and keeps what their countersignatures say. */
async function* observed(
  segments: AsyncIterable<Segment>,
  newest: Map<string, Head>,
): AsyncGenerator<Segment> {
  for await (const segment of segments) {
    const head = readHead(segment.countersignature)
    if (head !== undefined) newest.set(`${segment.chain} ${segment.epoch}`, head)
    yield segment
  }
}
