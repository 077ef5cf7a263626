/** What a verification found, and where. */
export type DamageKind =
  /** Bytes that are not batches. */
  | 'unreadable'
  /** A batch or entry whose content is not what its link says. */
  | 'link-wrong'
  /** Batches or entries missing, repeated or out of order. */
  | 'order-wrong'
  | 'tail-missing'
  | 'signature-wrong'
  | 'head-wrong'
  | 'epoch-wrong'
  | 'session-wrong'
  | 'outcome-wrong'
  /** Parts of a recording missing or out of order, or an end that does not fit them. */
  | 'recording-wrong'

export interface Damage {
  kind: DamageKind
  /** A proxy's id, or `control`. */
  chain: string
  epoch: string
  /** Number of the segment in the order in which segments were read, from 0. */
  segment?: number
  batch?: number
  /** Of the entry. */
  sequence?: number
  /** Byte in the segment's batches (decoded from base64). */
  offset?: number
  /** What is wrong, in words. */
  detail: string
}

export type Place = Pick<Damage, 'chain' | 'epoch' | 'segment' | 'batch' | 'sequence' | 'offset'>

/** Keeps the first damages and counts the rest. */
export class DamageList {
  readonly items: Damage[] = []
  total = 0
  readonly #max: number

  constructor(max: number) {
    this.#max = max
  }

  add(damage: Damage): void {
    this.total += 1
    if (this.items.length < this.#max) this.items.push(damage)
  }
}

/** One line for a person. */
export function describeDamage(damage: Damage): string {
  const place = [`chain ${damage.chain}`, `epoch ${damage.epoch}`]
  if (damage.segment !== undefined) place.push(`segment ${damage.segment}`)
  if (damage.batch !== undefined) place.push(`batch ${damage.batch}`)
  if (damage.sequence !== undefined) place.push(`entry ${damage.sequence}`)
  if (damage.offset !== undefined) place.push(`byte ${damage.offset}`)
  return `${place.join(', ')}: ${damage.detail}`
}
