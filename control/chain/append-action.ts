/**
 * Control's own chain: decisions, admin actions and readings of the audit. An action is appended in the transaction of the
 * change itself: there is no change without its record, and no record of a change that did not happen.
 */
import { BatchEncoder } from '../api/audit/encode.ts'
import { decodeBatch } from '../api/audit/decode.ts'
import type { ControlActionMeta } from '../api/audit/format.ts'
import { genesisLink } from '../api/audit/link.ts'
import { bytesOfUuid } from '../api/audit/uuid.ts'
import { withholdPayloads } from '../api/audit/withhold.ts'
import { signToken, type CheckpointClaims } from '../api/tokens.ts'
import { nowMs, type Actor } from '../control.ts'
import { signingKeyOf } from '../keys/signing-key.ts'
import { takeLock } from '../store/advisory-lock.ts'
import type { Sql } from '../store/store.ts'
import type { ControlAction } from '../server/handlers.ts'
import { sealPayload } from './chain-payload.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Signer } from '../../certs/signer.ts'

export interface ControlChain {
  readonly realm: string
  /** UUID. */
  readonly epoch: string
  readonly clock: Clock
  readonly signer: Signer
  /** 32 bytes. */
  readonly payloadKey: Buffer
  /** One for the chain: used between two awaits only, under the lock. */
  readonly encoder: BatchEncoder
}

export function createControlChain(options: Omit<ControlChain, 'encoder'>): ControlChain {
  return { ...options, encoder: new BatchEncoder(bytesOfUuid(options.epoch)) }
}

const targetCharactersMax = 512

/**
 * Appends one batch with one entry to the chain, within the caller's transaction on the state store, and signs the new head.
 * Holds the chain's lock to the commit: append as late as you can, after the locks of rows and before the feed. Returns the
 * number of the action in the chain.
 */
export async function appendControlAction(
  sql: Sql,
  chain: ControlChain,
  actor: Actor,
  { action, target, details }: ControlAction,
): Promise<number> {
  await takeLock(sql, 'chain', chain.realm)
  const [head] = await sql.query<{ batch: number; sequence: number; link: Buffer }>(
    'select batch, sequence, link from control_chain where realm = $1 order by batch desc limit 1',
    [chain.realm],
  )
  const atMs = nowMs(chain.clock)
  const meta: ControlActionMeta = {
    action,
    actor: actor.id,
    actorEmail: actor.email.slice(0, 254),
    target: target.slice(0, targetCharactersMax),
    remoteAddress: actor.remoteAddress.slice(0, 64),
  }
  const number = (head?.batch ?? 0) + 1
  const sequence = (head?.sequence ?? 0) + 1
  const previousLink = head?.link ?? genesisLink(chain.epoch)
  const { apiTokenId } = actor
  const whole = apiTokenId === undefined ? details : { ...details, apiTokenId }
  const written = encode(chain.encoder, number, sequence, previousLink, atMs, meta, whole)
  const claims: CheckpointClaims = {
    realm: chain.realm,
    chain: 'control',
    epoch: chain.epoch,
    batch: number,
    sequence,
    link: written.link.toString('hex'),
    atMs,
  }
  const key = signingKeyOf(chain.signer)
  await sql.query(
    `insert into control_chain (realm, batch, sequence, link, skeleton, sealed_payload, checkpoint,
       countersignature, at_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [
      chain.realm,
      number,
      sequence,
      written.link,
      written.skeleton,
      sealPayload(chain, sequence, written.payload),
      await signToken('checkpoint', claims, key),
      await signToken('countersignature', claims, key),
      atMs,
    ],
  )
  return number
}

function encode(
  encoder: BatchEncoder,
  number: number,
  sequence: number,
  previousLink: Buffer,
  atMs: number,
  meta: ControlActionMeta,
  details: Readonly<Record<string, unknown>>,
): { link: Buffer; skeleton: Buffer; payload: Buffer } {
  encoder.start(number, sequence, previousLink)
  const writer = encoder.beginEntry('control-action', undefined, atMs * 1_000, 0)
  writer.utf8(JSON.stringify(meta))
  encoder.endMeta()
  encoder.beginPayload()
  writer.utf8(JSON.stringify(details))
  encoder.endEntry()
  const { bytes, link } = encoder.finish(atMs * 1_000)
  const batch = decodeBatch(bytes, 0)
  return {
    link: Buffer.from(link),
    skeleton: withholdPayloads(batch, () => false),
    payload: Buffer.from(batch.entries[0]!.payload!),
  }
}
