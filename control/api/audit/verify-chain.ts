/**
 * Verifies stored chains offline: every link, the order of batches and sequences, the commitments of payloads that
 * are there, how epochs follow each other, both signatures of each head, and that the story of each session is
 * whole. It names the place of each damage and goes on, so that one flipped byte does not hide another.
 */
import type { AuditKeys, Segment } from '../shapes.ts'
import { ChainVerifier } from './chain-verifier.ts'
import { DamageList, type Damage } from './damage.ts'
import { splitSegment } from './split-segment.ts'
import { SignatureVerifier } from './signatures.ts'

export { computeLink, genesisLink } from './link.ts'
export type { Damage, DamageKind } from './damage.ts'

/** A head that the verifier remembers from elsewhere: the chain must still hold it. */
export interface KnownHead {
  chain: string
  epoch: string
  batch: number
  /** Hex. */
  link: string
}

export interface VerifyOptions {
  /** Heads kept outside of control: they find a tail that was cut off with its signatures. */
  heads?: readonly KnownHead[]
  /** Damages reported at most; the rest is counted. Default 1,000. */
  damagesMax?: number
}

export interface ChainReport {
  /** A proxy's id, or `control`. */
  chain: string
  epochs: {
    epoch: string
    batches: number
    entries: number
    activities: number
    payloadsWithheld: number
    /** Sessions without an end, in the last epoch: they live, or their end has not arrived yet. */
    sessionsOpen: number
    /** Activities without an outcome: they run, or a crash took it. */
    outcomesMissing: number
    lastBatch: number
    /** Hex. */
    head: string
    headSignedByProxy: boolean
    headSignedByControl: boolean
  }[]
}

export interface VerificationReport {
  ok: boolean
  segments: number
  batches: number
  entries: number
  chains: ChainReport[]
  damage: Damage[]
  /** Damages found beyond `damagesMax`. */
  damageOmitted: number
}

/**
 * Verifies segments as `auditSegments` lists them: each chain's in order, chains in any order. Takes memory for the
 * open sessions and unsettled activities only. Never throws for what it reads.
 */
export async function verifySegments(
  segments: AsyncIterable<Segment> | Iterable<Segment>,
  keys: AuditKeys,
  options: VerifyOptions = {},
): Promise<VerificationReport> {
  const damage = new DamageList(options.damagesMax ?? 1_000)
  const signatures = new SignatureVerifier(keys)
  const chains = new Map<string, ChainVerifier>()
  const heads = options.heads ?? []
  let count = 0
  for await (const segment of segments) {
    let chain = chains.get(segment.chain)
    if (chain === undefined) {
      const known = heads.filter((head) => head.chain === segment.chain)
      chain = new ChainVerifier(segment.chain, known, damage)
      chains.set(segment.chain, chain)
    }
    const place = { chain: segment.chain, epoch: segment.epoch, segment: count }
    const batches = splitSegment(segment, place, damage)
    chain.segment(segment, batches, place)
    await signatures.verify(segment, batches, place, damage)
    count += 1
  }
  for (const { chain, epoch, batch } of heads) {
    if (chains.has(chain)) continue
    const detail = 'nothing of this chain is here'
    damage.add({ kind: 'tail-missing', chain, epoch, batch, detail })
  }
  for (const chain of chains.values()) chain.end()
  const reports = [...chains.values()].map((chain) => chain.report(signatures))
  const epochs = reports.flatMap((report) => report.epochs)
  return {
    ok: damage.total === 0,
    segments: count,
    batches: epochs.reduce((sum, epoch) => sum + epoch.batches, 0),
    entries: epochs.reduce((sum, epoch) => sum + epoch.entries, 0),
    chains: reports,
    damage: damage.items,
    damageOmitted: damage.total - damage.items.length,
  }
}
