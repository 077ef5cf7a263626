/** Verifies the batches of one chain in order: links, numbers, epochs. Entries are for `StoryVerifier`. */
import type { Segment } from '../shapes.ts'
import type { DamageKind, DamageList, Place } from './damage.ts'
import type { Batch, Entry } from './decode.ts'
import { firstBatchNumber, firstEntrySequence } from './format.ts'
import { computeLink, genesisLink } from './link.ts'
import { proxyStarted } from './metas.ts'
import type { SignatureVerifier } from './signatures.ts'
import type { PlacedBatch } from './split-segment.ts'
import { StoryVerifier } from './story-verifier.ts'
import type { ChainReport, KnownHead } from './verify-chain.ts'

interface Epoch {
  readonly epoch: string
  readonly story: StoryVerifier
  batches: number
  entries: number
  payloadsWithheld: number
  lastBatch: number
  lastSequence: number
  /** Link of the last batch read; the next one's previous link. */
  link: Buffer
}

export class ChainVerifier {
  readonly #chain: string
  readonly #heads: Map<string, KnownHead>
  readonly #damage: DamageList
  readonly #epochs = new Map<string, Epoch>()
  #current: Epoch | undefined

  constructor(chain: string, heads: readonly KnownHead[], damage: DamageList) {
    this.#chain = chain
    this.#heads = new Map(heads.map((head) => [`${head.epoch} ${head.batch}`, head]))
    this.#damage = damage
  }

  segment(segment: Segment, batches: readonly PlacedBatch[], place: Place): void {
    const epoch = this.#enter(segment.epoch, place)
    const first = batches[0]?.batch.number
    const last = batches.at(-1)?.batch.number
    if (first !== segment.firstBatch || last !== segment.lastBatch) {
      const said = `${segment.firstBatch} to ${segment.lastBatch}`
      this.#damage.add({
        ...place,
        kind: last !== undefined && last < segment.lastBatch ? 'tail-missing' : 'order-wrong',
        detail: `the segment says batches ${said}, and has ${first ?? 'none'} to ${last ?? 'none'}`,
      })
    }
    for (const placed of batches) this.#batch(epoch, placed, place)
  }

  #enter(name: string, place: Place): Epoch {
    if (this.#current?.epoch === name) return this.#current
    const known = this.#epochs.get(name)
    if (known !== undefined && known.batches === 0) return known
    if (known !== undefined) {
      const detail = `epoch comes back after epoch ${this.#current?.epoch ?? ''}`
      this.#damage.add({ ...place, kind: 'epoch-wrong', detail })
      this.#current = known
      return known
    }
    const epoch: Epoch = {
      epoch: name,
      story: new StoryVerifier(this.#chain, this.#damage),
      batches: 0,
      entries: 0,
      payloadsWithheld: 0,
      lastBatch: firstBatchNumber - 1,
      lastSequence: firstEntrySequence - 1,
      link: genesisOf(name),
    }
    this.#epochs.set(name, epoch)
    return epoch
  }

  #batch(epoch: Epoch, placed: PlacedBatch, segmentPlace: Place): void {
    const { batch, offset } = placed
    const place = { ...segmentPlace, batch: batch.number, offset }
    const add = (kind: DamageKind, detail: string): void =>
      this.#damage.add({ ...place, kind, detail })
    if (batch.epoch !== epoch.epoch) {
      add('epoch-wrong', `batch of epoch ${batch.epoch} in a segment of epoch ${epoch.epoch}`)
      epoch.story.lose()
      return
    }
    const computed = computeLink(batch)
    if (!computed.equals(batch.link)) {
      const range = `bytes ${offset} to ${offset + batch.bytes.length - 1}`
      add('link-wrong', `content of the batch (${range}) is not what its link says`)
    }
    if (batch.entries.length === 0) add('order-wrong', 'batch without entries')
    const expected = epoch.lastBatch + 1
    const inOrder = batch.number === expected
    if (!inOrder) {
      epoch.story.lose()
      if (!placed.afterUnreadable || batch.number < expected) {
        add('order-wrong', `batch ${batch.number} stands where batch ${expected} belongs`)
      }
      // A repeated one says nothing new; a later one is where the chain goes on.
      if (batch.number < expected) return
    } else if (!batch.previousLink.equals(epoch.link)) {
      add('link-wrong', `previous link is not the link of batch ${batch.number - 1}`)
    }
    if (inOrder && batch.firstSequence !== epoch.lastSequence + 1) {
      epoch.story.lose()
      const detail = `entries start at ${batch.firstSequence} instead of ${epoch.lastSequence + 1}`
      add('order-wrong', detail)
    }
    if (this.#current !== epoch) this.#begin(epoch, batch, place, inOrder)
    for (const entry of batch.entries) {
      if (entry.withheld) epoch.payloadsWithheld += 1
      const entryPlace = { ...place, sequence: entry.sequence, offset: offset + entry.offset }
      epoch.story.entry(entry, entryPlace)
    }
    this.#checkHead(batch, computed, place)
    epoch.batches += 1
    epoch.entries += batch.entries.length
    epoch.lastBatch = batch.number
    epoch.lastSequence = batch.firstSequence + batch.entries.length - 1
    epoch.link = batch.link
  }

  /** The first batch of an epoch names the head of the epoch before. */
  #begin(epoch: Epoch, batch: Batch, place: Place, isFirst: boolean): void {
    const before = this.#current
    this.#current = epoch
    const entry = batch.entries[0]
    if (this.#chain === 'control' || !isFirst || entry === undefined) return
    const add = (kind: DamageKind, detail: string): void =>
      this.#damage.add({ ...place, sequence: entry.sequence, kind, detail })
    const started = startedOf(entry)
    if (started === undefined) {
      add('epoch-wrong', 'an epoch does not begin with proxy-started')
      return
    }
    const previous = started.previous
    if (previous === undefined) {
      if (before !== undefined) add('epoch-wrong', 'a later epoch names no epoch before it')
      return
    }
    if (before === undefined) {
      add('tail-missing', `epoch ${previous.epoch} comes before this one and is not here`)
      return
    }
    if (previous.epoch !== before.epoch) {
      add('epoch-wrong', `follows epoch ${previous.epoch}, not ${before.epoch}`)
      return
    }
    if (previous.batch !== before.lastBatch || previous.link !== before.link.toString('hex')) {
      add(
        previous.batch > before.lastBatch ? 'tail-missing' : 'epoch-wrong',
        `epoch ${before.epoch} ended with batch ${previous.batch}, link ${previous.link}; here ` +
          `it ends with batch ${before.lastBatch}, link ${before.link.toString('hex')}`,
      )
      return
    }
    if (previous.sequence !== before.lastSequence) {
      add('epoch-wrong', `epoch ${before.epoch} did not end with entry ${previous.sequence}`)
    }
    before.story.lost(started.lostSessions, started.damage.length > 0, add)
  }

  #checkHead(batch: Batch, computed: Buffer, place: Place): void {
    const key = `${batch.epoch} ${batch.number}`
    const head = this.#heads.get(key)
    if (head === undefined) return
    this.#heads.delete(key)
    if (head.link === computed.toString('hex')) return
    const detail = `link is not ${head.link}, which is remembered for this batch`
    this.#damage.add({ ...place, kind: 'head-wrong', detail })
  }

  /** To be called after the last segment. */
  end(): void {
    for (const { chain, epoch, batch, link } of this.#heads.values()) {
      const detail = `batch is not here, though its head is remembered (link ${link})`
      this.#damage.add({ kind: 'tail-missing', chain, epoch, batch, detail })
    }
  }

  report(signatures: SignatureVerifier): ChainReport {
    const epochs = [...this.#epochs.values()].map((epoch) => ({
      epoch: epoch.epoch,
      batches: epoch.batches,
      entries: epoch.entries,
      activities: epoch.story.activities,
      payloadsWithheld: epoch.payloadsWithheld,
      sessionsOpen: epoch.story.sessionsOpen,
      outcomesMissing: epoch.story.outcomesMissing,
      lastBatch: epoch.lastBatch,
      head: epoch.link.toString('hex'),
      headSignedByProxy: signatures.isSigned('checkpoint', epoch.link.toString('hex')),
      headSignedByControl: signatures.isSigned('countersignature', epoch.link.toString('hex')),
    }))
    return { chain: this.#chain, epochs }
  }
}

const uuidForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** A name that is no UUID has no genesis; every batch under it is damage already. */
function genesisOf(epoch: string): Buffer {
  return uuidForm.test(epoch) ? genesisLink(epoch) : Buffer.alloc(32)
}

function startedOf(entry: Entry): ReturnType<typeof proxyStarted.parse> | undefined {
  if (entry.type !== 'proxy-started') return undefined
  try {
    return proxyStarted.parse(JSON.parse(entry.meta.toString('utf8')))
  } catch {
    return undefined
  }
}
