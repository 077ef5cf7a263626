/** A proxy's side of the audit, without a spool: writes batches and ships what control should store. */
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { createKeySigner } from '../../certs/key-signer.ts'
import type { SpeakingProxy } from '../../control/audit/checkpoint.ts'
import type { SegmentsRequest } from '../../control/audit/store-segments.ts'
import { decodeBatches } from '../../control/api/audit/decode.ts'
import { BatchEncoder, encodeOutcomeMeta } from '../../control/api/audit/encode.ts'
import {
  type EntryType,
  type ProxyStartedMeta,
  type SessionClosedMeta,
  type SessionOpenedMeta,
} from '../../control/api/audit/format.ts'
import { genesisLink } from '../../control/api/audit/link.ts'
import { bytesOfUuid } from '../../control/api/audit/uuid.ts'
import { signToken, type CheckpointClaims } from '../../control/api/tokens.ts'
import {
  activityFields,
  activityKinds,
  newOutcome,
  type Outcome,
} from '../../protocols/activity.ts'
import { ByteWriter } from '../../protocols/kit/byte-writer.ts'

export const okOutcome = newOutcome({
  ...{ rows: 1, bytesUp: 20, bytesDown: 40, durationUs: 300, tag: 'SELECT 1' },
})

export const openedMeta: SessionOpenedMeta = {
  personId: '7b3f6b0e-6a64-4f4e-9d55-1f7f4e9d1a01',
  personEmail: 'dev@example.test',
  grantId: '7b3f6b0e-6a64-4f4e-9d55-1f7f4e9d1a02',
  grantRevision: 1,
  resource: 'orders-db',
  protocol: 'postgres',
  level: 'read',
  account: 'reader',
  upstream: 'db.internal:5432',
  remoteAddress: '127.0.0.1',
  certificateSerial: 'abc',
  attributes: { database: 'shop' },
  retention: 'standard',
  durability: 'written',
  expiresAtMs: Date.UTC(2026, 0, 1, 8),
  admittedBy: 'control',
}

export interface FakeProxy extends SpeakingProxy {
  startEpoch(): FakeEpoch
}

export function createFakeProxy(proxyId: string = randomUUID()): FakeProxy {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const signer = createKeySigner(privateKey)
  const sign = (claims: CheckpointClaims): Promise<string> =>
    signToken('checkpoint', claims, {
      kid: signer.kid,
      alg: 'ES256',
      sign: (data) => signer.sign(data),
    })
  const proxy: FakeProxy = {
    proxyId,
    publicKey,
    kid: signer.kid,
    startEpoch: () => new FakeEpoch(proxy, sign),
  }
  return proxy
}

export class FakeEpoch {
  readonly epoch = randomUUID()
  readonly proxy: SpeakingProxy
  /** Moves with each entry, so that the order is plain. Unix microseconds. */
  nowUs = Date.UTC(2026, 0, 1) * 1_000
  readonly #sign: (claims: CheckpointClaims) => Promise<string>
  readonly #encoder: BatchEncoder
  #link: Buffer
  #batch = 1
  #sequence = 1
  #open = false

  constructor(proxy: SpeakingProxy, sign: (claims: CheckpointClaims) => Promise<string>) {
    this.proxy = proxy
    this.#sign = sign
    this.#encoder = new BatchEncoder(bytesOfUuid(this.epoch))
    this.#link = genesisLink(this.epoch)
  }

  #entry(
    type: EntryType,
    session: string | undefined,
    reference: number,
    meta: Buffer,
    payload?: Buffer,
  ): number {
    if (!this.#open) this.#encoder.start(this.#batch, this.#sequence, this.#link)
    this.#open = true
    this.nowUs += 10
    const id = session === undefined ? undefined : bytesOfUuid(session)
    const writer = this.#encoder.beginEntry(type, id, this.nowUs, reference)
    writer.copy(meta)
    this.#encoder.endMeta()
    if (payload !== undefined) {
      this.#encoder.beginPayload()
      writer.copy(payload)
    }
    return this.#encoder.endEntry()
  }

  raw(type: EntryType, session: string | undefined, meta: Buffer, payload?: Buffer): number {
    return this.#entry(type, session, 0, meta, payload)
  }

  started(lostSessions: string[] = [], previous?: ProxyStartedMeta['previous']): void {
    const meta = { version: '0', lostSessions, damage: [], ...(previous && { previous }) }
    this.#entry('proxy-started', undefined, 0, Buffer.from(JSON.stringify(meta)))
  }

  opened(meta: Partial<SessionOpenedMeta> = {}, session: string = randomUUID()): string {
    const json = JSON.stringify({ ...openedMeta, ...meta })
    this.#entry('session-opened', session, 0, Buffer.from(json))
    return session
  }

  cut(session: string, reason: string, orderedAtMs: number): void {
    const meta = { reason, orderedAtMs, detail: 'because' }
    this.#entry('session-cut', session, 0, Buffer.from(JSON.stringify(meta)))
  }

  closed(session: string, meta: Partial<SessionClosedMeta> = {}): void {
    const whole = { reason: 'client-closed', statements: 1, bytesUp: 2, bytesDown: 3, ...meta }
    this.#entry('session-closed', session, 0, Buffer.from(JSON.stringify(whole)))
  }

  /** A statement; parameters are texts, or null. */
  statement(session: string, text: string | Buffer, parameters: (string | null)[] = []): number {
    const fields = [
      field(activityFields.text, Buffer.from(text)),
      ...parameters.map((value) =>
        value === null
          ? field(activityFields.parameterNull, Buffer.alloc(0))
          : field(activityFields.parameterText, Buffer.from(value)),
      ),
    ]
    const meta = Buffer.from([activityKinds.statement])
    return this.#entry('activity', session, 0, meta, Buffer.concat(fields))
  }

  outcome(session: string, reference: number, outcome: Partial<Outcome> = {}): void {
    const whole = { ...okOutcome, ...outcome }
    const meta = new ByteWriter(64)
    encodeOutcomeMeta(meta, whole)
    const payload = whole.errorText === '' ? undefined : Buffer.from(whole.errorText)
    this.#entry('outcome', session, reference, Buffer.from(meta.bytes()), payload)
  }

  /** Ends the batch and returns its bytes. */
  batch(): Buffer {
    const entries = this.#encoder.count
    const { bytes, link } = this.#encoder.finish(this.nowUs)
    this.#open = false
    this.#link = link
    this.#batch += 1
    this.#sequence += entries
    return Buffer.from(bytes)
  }

  /** Forgets what came after a batch, as a proxy would whose disk was restored from a copy. */
  rewindTo(bytes: Buffer): void {
    const last = decodeBatches(bytes).at(-1)!
    this.#batch = last.number + 1
    this.#sequence = last.firstSequence + last.entries.length
    this.#link = Buffer.from(last.link)
    this.#open = false
  }

  async request(body: Buffer, claims: Partial<CheckpointClaims> = {}): Promise<SegmentsRequest> {
    const last = decodeBatches(body).at(-1)!
    return {
      proxy: this.proxy,
      body,
      checkpoint: await this.#sign({
        realm: 'default',
        chain: this.proxy.proxyId,
        epoch: last.epoch,
        batch: last.number,
        sequence: last.firstSequence + last.entries.length - 1,
        link: last.link.toString('hex'),
        atMs: Math.floor(this.nowUs / 1_000),
        ...claims,
      }),
    }
  }

  get head(): NonNullable<ProxyStartedMeta['previous']> {
    return {
      epoch: this.epoch,
      batch: this.#batch - 1,
      sequence: this.#sequence - 1,
      link: this.#link.toString('hex'),
    }
  }
}

function field(tag: number, bytes: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head[0] = tag
  head.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}
