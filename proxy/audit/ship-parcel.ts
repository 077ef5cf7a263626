/** Sends one parcel of the outbox to control. */
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { decodeBatch } from '../../control/api/audit/decode.ts'
import { signToken } from '../../control/api/tokens.ts'
import type { Signer } from '../../certs/signer.ts'
import type { Outbox, Parcel } from './outbox.ts'

/** Control's side, as the composition root wires it to the API. Each rejects with the `SallyportError` that control named. */
export interface AuditStore {
  /** `proxySegments`: concatenated batches of one epoch, and the signed head (compact JWS). */
  storeSegments(
    bytes: Buffer,
    checkpoint: string,
  ): Promise<{ epoch: string; acknowledgedBatch: number; quarantined: number }>
  /** `proxyBlob`: one part. `sha256`: hex, of the whole. */
  storeBlob(part: BlobPart): Promise<unknown>
  /** `proxyQuarantine`. */
  quarantine(bytes: Buffer, why: string): Promise<unknown>
}

export interface BlobPart {
  sha256: string
  sessionId: string
  offset: number
  total: number
  bytes: Buffer
}

export interface Sender {
  store: AuditStore
  signer: Signer
  realm: string
  proxyId: string
  clock: Clock
  outbox: Outbox
}

const blobPartBytesMax = 8 * 1024 * 1024
const quarantineBytesMax = 32 * 1024 * 1024
const whyCharactersMax = 1_000

/** Rejects with control's error; then the parcel is not done. Answers how many batches control put in quarantine. */
export async function shipParcel(sender: Sender, parcel: Parcel): Promise<number> {
  switch (parcel.kind) {
    case 'blob':
      await shipBlob(sender, parcel)
      return 0
    case 'aside':
      for (let at = 0; at < parcel.bytes.length; at += quarantineBytesMax) {
        const part = parcel.bytes.subarray(at, at + quarantineBytesMax)
        await sender.store.quarantine(part, parcel.why.slice(0, whyCharactersMax))
      }
      return 0
    case 'batches':
      return shipBatches(sender, parcel)
  }
}

async function shipBatches(
  { store, signer, realm, proxyId, clock }: Sender,
  parcel: Parcel & { kind: 'batches' },
): Promise<number> {
  const { line, bytes } = parcel
  const last = decodeBatch(bytes, lastBatchOffset(bytes))
  const head = {
    realm,
    chain: proxyId,
    epoch: line.epoch,
    batch: last.number,
    sequence: last.firstSequence + last.entries.length - 1,
    link: last.link.toString('hex'),
    atMs: Math.floor(clock.wallMs()),
  }
  const checkpoint = await signToken('checkpoint', head, {
    kid: signer.kid,
    alg: signer.algorithm,
    sign: (data) => signer.sign(data),
  })
  const answer = await store.storeSegments(bytes, checkpoint)
  if (answer.epoch !== line.epoch || answer.acknowledgedBatch < parcel.firstBatch) {
    const message = `control acknowledged batch ${answer.acknowledgedBatch} of epoch ${answer.epoch}`
    throw new SallyportError('internal', `${message} when batch ${parcel.firstBatch} was sent`)
  }
  // What control did not acknowledge is sent again.
  parcel.lastBatch = Math.min(parcel.lastBatch, answer.acknowledgedBatch)
  return answer.quarantined
}

function lastBatchOffset(bytes: Buffer): number {
  let offset = 0
  for (;;) {
    const next = offset + bytes.readUInt32BE(offset + 4)
    if (next >= bytes.length) return offset
    offset = next
  }
}

async function shipBlob(
  { store, outbox }: Sender,
  { blob }: Parcel & { kind: 'blob' },
): Promise<void> {
  const { sha256, sessionId, plainBytes: total } = blob
  let offset = 0
  let pieces: Buffer[] = []
  let held = 0
  const send = async (): Promise<void> => {
    const bytes = Buffer.concat(pieces)
    await store.storeBlob({ sha256, sessionId, offset, total, bytes })
    offset += bytes.length
    pieces = []
    held = 0
  }
  for await (const piece of outbox.pieces(blob)) {
    if (held + piece.length > blobPartBytesMax) await send()
    pieces.push(piece)
    held += piece.length
  }
  if (held > 0) await send()
}
