/** Verifies the two signatures of a segment's head. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { AuditKeys, Segment } from '../shapes.ts'
import { verifyToken, type CheckpointClaims } from '../tokens.ts'
import type { DamageList, Place } from './damage.ts'
import type { PlacedBatch } from './split-segment.ts'

type Use = 'checkpoint' | 'countersignature'

export class SignatureVerifier {
  readonly #keys = new Map<string, { key: KeyObject; chain: string; use: Use }>()
  /** Links (hex) whose signature was verified. */
  readonly #signed = { checkpoint: new Set<string>(), countersignature: new Set<string>() }

  constructor(keys: AuditKeys) {
    for (const { kid, chain, use, publicKeyPem } of keys.keys) {
      this.#keys.set(`${use} ${kid}`, { key: createPublicKey(publicKeyPem), chain, use })
    }
  }

  /** Whether a head (hex) was signed by its chain's own key, or by control. */
  isSigned(use: Use, link: string): boolean {
    return this.#signed[use].has(link)
  }

  async verify(
    segment: Segment,
    batches: readonly PlacedBatch[],
    place: Place,
    damage: DamageList,
  ): Promise<void> {
    const own = await this.#verifyOne('checkpoint', segment, batches, place, damage)
    const control = await this.#verifyOne('countersignature', segment, batches, place, damage)
    if (own !== undefined && control !== undefined && own.realm !== control.realm) {
      const detail = 'checkpoint and countersignature name different realms'
      damage.add({ ...place, kind: 'head-wrong', detail })
    }
  }

  async #verifyOne(
    use: Use,
    segment: Segment,
    batches: readonly PlacedBatch[],
    place: Place,
    damage: DamageList,
  ): Promise<CheckpointClaims | undefined> {
    let claims: CheckpointClaims
    try {
      claims = await this.#verifyToken(use, segment)
    } catch (error) {
      const detail = `${use}: ${error instanceof Error ? error.message : String(error)}`
      damage.add({ ...place, kind: 'signature-wrong', batch: segment.lastBatch, detail })
      return undefined
    }
    const wrong = (detail: string): void =>
      damage.add({ ...place, kind: 'head-wrong', batch: claims.batch, detail: `${use} ${detail}` })
    if (claims.chain !== segment.chain) wrong(`is of chain ${claims.chain}`)
    if (claims.epoch !== segment.epoch) wrong(`is of epoch ${claims.epoch}`)
    if (claims.batch !== segment.lastBatch) {
      wrong(`names batch ${claims.batch}, the segment ends at ${segment.lastBatch}`)
    }
    const named = batches.find(({ batch }) => batch.number === claims.batch)
    if (named === undefined) {
      const kind = 'tail-missing' as const
      const detail = `${use} names batch ${claims.batch}, which is not in its segment`
      damage.add({ ...place, kind, batch: claims.batch, detail })
      return claims
    }
    const { batch, offset } = named
    if (batch.link.toString('hex') !== claims.link) {
      damage.add({
        ...place,
        kind: 'head-wrong',
        batch: claims.batch,
        offset: offset + batch.bytes.length - batch.link.length,
        detail: `${use} has another link for batch ${claims.batch} than the batch itself`,
      })
    } else {
      this.#signed[use].add(claims.link)
    }
    const sequence = batch.firstSequence + batch.entries.length - 1
    if (claims.sequence !== sequence) {
      wrong(`names entry ${claims.sequence}, batch ${claims.batch} ends with ${sequence}`)
    }
    return claims
  }

  async #verifyToken(use: Use, segment: Segment): Promise<CheckpointClaims> {
    const token = segment[use]
    const parts = token.split('.')
    // A second spelling of the same bytes is a change that the signature does not see (RFC 4648, 3.5).
    if (parts.some((part) => Buffer.from(part, 'base64url').toString('base64url') !== part)) {
      throw new Error('not canonical base64url')
    }
    return verifyToken(use, token, (kid) => {
      const known = this.#keys.get(`${use} ${kid}`)
      if (known === undefined) throw new Error(`unknown key ${kid}`)
      if (use === 'checkpoint' && known.chain !== segment.chain) {
        throw new Error(`key ${kid} belongs to chain ${known.chain}`)
      }
      return known.key
    })
  }
}
