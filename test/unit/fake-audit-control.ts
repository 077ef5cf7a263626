import { expect } from 'vitest'
import { decodeBatches, type Batch } from '../../control/api/audit/decode.ts'
import type { Segment } from '../../control/api/shapes.ts'
import { signToken, verifyToken } from '../../control/api/tokens.ts'
import { SallyportError, type ErrorCode } from '../../protocols/kit/errors.ts'
import type { AuditStore, BlobPart } from '../../proxy/audit/ship-parcel.ts'
import { controlSigner, proxyId, proxySigner } from './audit-bundle.ts'

/** Control's side of shipping, as strict as the real one: no gaps, nothing twice, nothing else under the same number. */
export class FakeControl implements AuditStore {
  readonly segments: Segment[] = []
  readonly batches = new Map<string, Batch[]>()
  readonly blobs: BlobPart[] = []
  readonly quarantined: string[] = []
  readonly log: string[] = []
  refuseWith: ErrorCode | undefined
  requests = 0
  underWay = 0
  /** Acknowledge but lose the answer. */
  loseAnswer = false

  async storeSegments(
    bytes: Buffer,
    checkpoint: string,
  ): Promise<{ epoch: string; acknowledgedBatch: number; quarantined: number }> {
    this.requests += 1
    this.underWay += 1
    expect(this.underWay).toBe(1)
    await new Promise((resolve) => setImmediate(resolve))
    this.underWay -= 1
    this.#refuse()
    const claims = await verifyToken('checkpoint', checkpoint, () => proxySigner.publicKey)
    const sent = decodeBatches(Buffer.from(bytes))
    const epoch = sent[0]!.epoch
    const have = this.batches.get(epoch) ?? []
    const expected = have.length + 1
    const first = sent[0]!.number
    if (first > expected) {
      const message = `expected batch ${expected} of epoch ${epoch}, got batch ${first}`
      throw new SallyportError('audit-gap', message)
    }
    const last = sent.at(-1)!
    expect(claims).toMatchObject({ chain: proxyId, epoch, batch: last.number })
    const fresh = sent.filter(({ number }) => number >= expected)
    this.log.push(`${first}-${last.number}`)
    if (fresh.length > 0) {
      this.batches.set(epoch, [...have, ...fresh])
      this.segments.push({
        chain: proxyId,
        epoch,
        firstBatch: fresh[0]!.number,
        lastBatch: last.number,
        batches: Buffer.concat(fresh.map((batch) => batch.bytes)).toString('base64'),
        checkpoint,
        countersignature: await signToken('countersignature', claims, {
          kid: controlSigner.kid,
          alg: 'EdDSA',
          sign: (data) => controlSigner.sign(data),
        }),
        receivedAtMs: 1,
      })
    }
    if (this.loseAnswer) {
      this.loseAnswer = false
      throw new SallyportError('control-unreachable', 'connection lost')
    }
    return { epoch, acknowledgedBatch: last.number, quarantined: 0 }
  }

  async storeBlob(part: BlobPart): Promise<void> {
    this.#refuse()
    this.blobs.push(part)
    this.log.push('blob')
  }

  async quarantine(bytes: Buffer, why: string): Promise<void> {
    this.#refuse()
    expect(bytes.length).toBeGreaterThan(0)
    this.quarantined.push(why)
  }

  #refuse(): void {
    if (this.refuseWith !== undefined) throw new SallyportError(this.refuseWith, 'refused')
  }

  entries(): number {
    let count = 0
    for (const batches of this.batches.values()) {
      for (const batch of batches) count += batch.entries.length
    }
    return count
  }
}
