/** A small bundle of audit segments with its keys, for tests. */
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { BatchEncoder, encodeOutcomeMeta } from '../../control/api/audit/encode.ts'
import { genesisLink } from '../../control/api/audit/link.ts'
import type { EntryType } from '../../control/api/audit/format.ts'
import { bytesOfUuid } from '../../control/api/audit/uuid.ts'
import type { AuditKeys, Segment } from '../../control/api/shapes.ts'
import { signToken, type SigningKey } from '../../control/api/tokens.ts'
import { FieldWriter, activityKinds, newOutcome, type Outcome } from '../../protocols/activity.ts'
import type { Signer } from '../../certs/signer.ts'

export const proxyId = '11111111-1111-4111-8111-111111111111'
export const epochs = [
  'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa',
  'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb',
] as const
export const sessionA = 'cccccccc-cccc-4ccc-8ccc-cccccccccccc'
export const sessionB = 'dddddddd-dddd-4ddd-8ddd-dddddddddddd'

export const okOutcome = newOutcome({
  ...{ rows: 3, bytesUp: 10, bytesDown: 20, durationUs: 1234, tag: 'SELECT 3' },
})

export function createSigner(algorithm: 'ES256' | 'EdDSA'): Signer {
  const { privateKey, publicKey } =
    algorithm === 'EdDSA'
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const der = publicKey.export({ type: 'spki', format: 'der' })
  return {
    kid: createHash('sha256').update(der).digest('base64url'),
    algorithm,
    publicKey,
    async sign(data) {
      return algorithm === 'EdDSA'
        ? sign(null, data, privateKey)
        : sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
    },
  }
}

export const proxySigner = createSigner('ES256')
export const controlSigner = createSigner('EdDSA')

function pem(key: KeyObject): string {
  return String(key.export({ type: 'spki', format: 'pem' }))
}

export const auditKeys: AuditKeys = {
  keys: [
    {
      kid: proxySigner.kid,
      chain: proxyId,
      use: 'checkpoint',
      publicKeyPem: pem(proxySigner.publicKey),
    },
    {
      kid: controlSigner.kid,
      chain: 'control',
      use: 'countersignature',
      publicKeyPem: pem(controlSigner.publicKey),
    },
  ],
}

/** Appends entries of one epoch, batch by batch. */
export class EpochBuilder {
  readonly epoch: string
  readonly encoder: BatchEncoder
  link: Buffer
  batch = 0
  sequence = 0

  constructor(epoch: string) {
    this.epoch = epoch
    this.encoder = new BatchEncoder(bytesOfUuid(epoch))
    this.link = genesisLink(epoch)
  }

  batchOf(...append: (() => void)[]): Buffer {
    this.batch += 1
    this.encoder.start(this.batch, this.sequence + 1, this.link)
    for (const one of append) one()
    const { bytes, link } = this.encoder.finish(1_700_000_000_000_000 + this.batch)
    this.link = link
    return Buffer.from(bytes)
  }

  event(type: EntryType, session: string | undefined, meta: object): () => void {
    return () => {
      const id = session === undefined ? undefined : bytesOfUuid(session)
      this.encoder.beginEntry(type, id, 1_700_000_000_000_000, 0).utf8(JSON.stringify(meta))
      this.encoder.endMeta()
      this.sequence = this.encoder.endEntry()
    }
  }

  activity(session: string, text: string): () => void {
    return () => {
      const writer = this.encoder.beginEntry(
        'activity',
        bytesOfUuid(session),
        1_700_000_000_000_001,
        0,
      )
      writer.u8(activityKinds.statement)
      this.encoder.endMeta()
      this.encoder.beginPayload()
      new FieldWriter(writer).utf8('text', text)
      this.sequence = this.encoder.endEntry()
    }
  }

  outcome(session: string, reference: number, outcome: Partial<Outcome> = {}): () => void {
    return () => {
      const whole = { ...okOutcome, ...outcome }
      const writer = this.encoder.beginEntry(
        'outcome',
        bytesOfUuid(session),
        1_700_000_000_000_002,
        reference,
      )
      encodeOutcomeMeta(writer, whole)
      this.encoder.endMeta()
      if (whole.errorText !== '') {
        this.encoder.beginPayload()
        writer.utf8(whole.errorText)
      }
      this.sequence = this.encoder.endEntry()
    }
  }
}

const keyOf = (signer: Signer): SigningKey => ({
  kid: signer.kid,
  alg: signer.algorithm,
  sign: (data) => signer.sign(data),
})

/** A segment of these batches with both signatures of the builder's present head. */
export async function segmentOf(
  builder: EpochBuilder,
  batches: readonly Buffer[],
  chain = proxyId,
): Promise<Segment> {
  const head = {
    realm: 'default',
    chain,
    epoch: builder.epoch,
    batch: builder.batch,
    sequence: builder.sequence,
    link: builder.link.toString('hex'),
    atMs: 1_700_000_000_000,
  }
  return {
    chain,
    epoch: builder.epoch,
    firstBatch: builder.batch - batches.length + 1,
    lastBatch: builder.batch,
    batches: Buffer.concat(batches).toString('base64'),
    checkpoint: await signToken('checkpoint', head, keyOf(proxySigner)),
    countersignature: await signToken('countersignature', head, keyOf(controlSigner)),
    receivedAtMs: 1_700_000_000_000,
  }
}

const started = (extra: object = {}): object => ({
  version: '0.1.0',
  lostSessions: [],
  damage: [],
  ...extra,
})

/** Two epochs in three segments of two batches each; session B is lost between the epochs. */
export async function smallBundle(): Promise<{ segments: Segment[]; builders: EpochBuilder[] }> {
  const one = new EpochBuilder(epochs[0])
  const first = [
    one.batchOf(one.event('proxy-started', undefined, started())),
    one.batchOf(
      one.event('session-opened', sessionA, {}),
      one.event('session-opened', sessionB, {}),
      one.activity(sessionA, 'select 1'),
    ),
  ]
  const segments = [await segmentOf(one, first)]
  const second = [
    one.batchOf(
      one.outcome(sessionA, 4),
      // 32 bytes with its salt, as long as a commitment.
      one.activity(sessionB, 'select 1234'),
      one.outcome(sessionB, 6, { status: 'error', errorCode: '42P01', errorText: 'no such table' }),
    ),
    one.batchOf(
      one.event('session-cut', sessionA, { reason: 'idle', orderedAtMs: 1, detail: '' }),
      one.event('session-closed', sessionA, { reason: 'idle' }),
    ),
  ]
  segments.push(await segmentOf(one, second))
  const two = new EpochBuilder(epochs[1])
  const previous = {
    epoch: one.epoch,
    batch: one.batch,
    sequence: one.sequence,
    link: one.link.toString('hex'),
  }
  const third = [
    two.batchOf(
      two.event('proxy-started', undefined, started({ previous, lostSessions: [sessionB] })),
    ),
    two.batchOf(two.event('proxy-stopped', undefined, { reason: 'test' })),
  ]
  segments.push(await segmentOf(two, third))
  return { segments, builders: [one, two] }
}
