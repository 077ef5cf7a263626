/**
 * Envelope encryption: payloads under a data key per session, data keys under a key per retention class, these under
 * one root key. Destroying a wrapped data key deletes its payloads wherever copies of the ciphertext may be.
 */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { seal, unseal } from '../../protocols/kit/sealed-file.ts'
import type { Sql } from '../store/store.ts'

/** Wraps the keys of classes. A sealing key in a file today; a KMS can stand behind the same two members. */
export interface RootKey {
  /** `label` says what is wrapped; the same one opens it. */
  wrap(key: Buffer, label: string): Promise<Buffer>
  unwrap(wrapped: Buffer, label: string): Promise<Buffer>
}

/** The root key of a sealed file. `sealingKey`: 32 bytes. */
export function createSealedRootKey(sealingKey: Buffer): RootKey {
  return {
    wrap: (key, label) => Promise.resolve(seal(sealingKey, key, label)),
    unwrap: (wrapped, label) => Promise.resolve(unseal(sealingKey, wrapped, label)),
  }
}

export interface DataKey {
  /** 32 bytes. */
  readonly key: Buffer
  /** What is stored. */
  readonly wrapped: Buffer
}

export interface Envelope {
  /** A new data key. `subject` names what it is for, and is needed to open it. */
  createDataKey(realm: string, retentionClass: string, subject: string): Promise<DataKey>
  openDataKey(
    realm: string,
    retentionClass: string,
    wrapped: Buffer,
    subject: string,
  ): Promise<Buffer>
  /** The same data key under the key of another class. */
  rewrap(realm: string, retentionClass: string, key: Buffer, subject: string): Promise<Buffer>
}

const keyBytes = 32

export interface EnvelopeOptions {
  /** The audit store. Never call the envelope inside one of its transactions: it writes on its own. */
  readonly store: Sql
  readonly rootKey: RootKey
  readonly clock: Clock
}

export function createEnvelope({ store, rootKey, clock }: EnvelopeOptions): Envelope {
  const classKeys = new Map<string, Promise<Buffer>>()

  const classKey = (realm: string, retentionClass: string): Promise<Buffer> => {
    const label = `sallyport-class-key|${realm}|${retentionClass}`
    let key = classKeys.get(label)
    if (key === undefined) {
      key = loadClassKey(realm, retentionClass, label)
      classKeys.set(label, key)
      // A failure is not remembered: the store may be back the next time.
      key.catch(() => classKeys.delete(label))
    }
    return key
  }

  const loadClassKey = async (
    realm: string,
    retentionClass: string,
    label: string,
  ): Promise<Buffer> => {
    const stored = () =>
      store.query<{ wrapped: Buffer }>(
        'select wrapped from class_keys where realm = $1 and retention_class = $2',
        [realm, retentionClass],
      )
    let row = (await stored())[0]
    if (row === undefined) {
      await store.query(
        `insert into class_keys (realm, retention_class, wrapped, created_at_ms)
         values ($1, $2, $3, $4) on conflict do nothing`,
        [
          realm,
          retentionClass,
          await rootKey.wrap(randomBytes(keyBytes), label),
          Math.floor(clock.wallMs()),
        ],
      )
      // Another replica may have been first: the stored one counts.
      row = (await stored())[0]
    }
    if (row === undefined) throw new SallyportError('internal', `no ${label}`)
    return rootKey.unwrap(row.wrapped, label)
  }

  const rewrap: Envelope['rewrap'] = async (realm, retentionClass, key, subject) =>
    seal(await classKey(realm, retentionClass), key, dataKeyLabel(realm, retentionClass, subject))

  return {
    async createDataKey(realm, retentionClass, subject) {
      const key = randomBytes(keyBytes)
      return { key, wrapped: await rewrap(realm, retentionClass, key, subject) }
    },
    async openDataKey(realm, retentionClass, wrapped, subject) {
      const label = dataKeyLabel(realm, retentionClass, subject)
      return unseal(await classKey(realm, retentionClass), wrapped, label)
    },
    rewrap,
  }
}

function dataKeyLabel(realm: string, retentionClass: string, subject: string): string {
  return `sallyport-data-key|${realm}|${retentionClass}|${subject}`
}
