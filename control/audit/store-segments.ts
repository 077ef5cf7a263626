import { SallyportError } from '../../protocols/kit/errors.ts'
import { seal } from '../../protocols/kit/sealed-file.ts'
import type { z } from 'zod'
import type { segmentsStored } from '../api/shapes.ts'
import type { CheckpointClaims } from '../api/tokens.ts'
import type { Sql } from '../store/store.ts'
import { applySessionEntries, readSessionEntries } from './apply-session-entries.ts'
import { rememberKey } from './audit-keys.ts'
import { countersign, verifyCheckpoint, type SpeakingProxy } from './checkpoint.ts'
import {
  createChain,
  headOfNewChain,
  lockChain,
  moveHead,
  readChain,
  storedLinks,
  type ChainHead,
} from './chain-head.ts'
import type { AuditContext } from './dependencies.ts'
import { quarantine } from './quarantine.ts'
import { peekEpoch, readBody, type ReceivedBody } from './read-body.ts'
import type { ReceivedChunk } from './received-chunk.ts'
import { destroyedKeys, ensureSessionKeys } from './session-keys.ts'
import { payloadLabel } from './stored-payloads.ts'

export type SegmentsStored = z.output<typeof segmentsStored>

export interface SegmentsRequest {
  readonly proxy: SpeakingProxy
  /** Concatenated verbatim batches of one epoch. */
  readonly body: Buffer
  /** The head of the last batch, signed by the proxy. Compact JWS. */
  readonly checkpoint: string
}

/** Another replica moved the head, or retention took a key, between our reading and our transaction. */
class Overtaken extends Error {}

const attemptsMax = 8

/**
 * Stores what a proxy ships, durably before it answers; indexing comes later. What is stored already is acknowledged
 * again. What conflicts goes to quarantine and is acknowledged too, with its count. Rejects with `audit-gap` (which batch is
 * expected), `audit-corrupt` (where) or `evidence-invalid` (the checkpoint).
 */
export async function storeSegments(
  context: AuditContext,
  request: SegmentsRequest,
): Promise<SegmentsStored> {
  const epoch = peekEpoch(request.body)
  const claims = await verifyCheckpoint(context, request.proxy, request.checkpoint)
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const chain = await readChain(context.store, context.realm, request.proxy.proxyId, epoch)
    const head = chain ?? headOfNewChain(epoch)
    const received = await readBody(request.body, head.lastBatch + 1)
    checkClaims(claims, received)
    const conflict = await findConflict(context, head, received)
    if (conflict !== undefined) return setAside(context, request, head, received, conflict)
    const countersignature = await countersign(context, claims)
    try {
      if (received.chunk !== undefined) {
        await storeChunk(context, request, head, received.chunk, countersignature)
        context.metrics.received(received.chunk.lastSequence - received.chunk.firstSequence + 1)
      }
    } catch (error) {
      if (error instanceof Overtaken) continue
      throw error
    }
    return {
      epoch,
      acknowledgedBatch: received.marks.at(-1)!.number,
      countersignature,
      quarantined: 0,
    }
  }
  throw new SallyportError('store-unavailable', 'the head of the chain moves on all the time', {
    clientMessage: 'the same chain is being shipped more than once at the same time',
    hint: 'try again',
  })
}

function checkClaims(claims: CheckpointClaims, received: ReceivedBody): void {
  const last = received.marks.at(-1)!
  const matches =
    claims.epoch === received.epoch &&
    claims.batch === last.number &&
    claims.sequence === received.lastSequence &&
    claims.link === last.link.toString('hex')
  if (matches) return
  throw new SallyportError(
    'evidence-invalid',
    `checkpoint names batch ${claims.batch} of epoch ${claims.epoch}, the body ends with batch ${last.number} of ${received.epoch}`,
    { clientMessage: 'the checkpoint is not the head of what was sent' },
  )
}

/** The first mark that conflicts with what is stored, and why. Rejects with `audit-gap`. */
async function findConflict(
  { store }: AuditContext,
  head: ChainHead,
  received: ReceivedBody,
): Promise<{ index: number; why: string } | undefined> {
  const first = received.marks[0]!
  const expected = Math.max(head.lastBatch, head.forkedBatch ?? 0) + 1
  if (first.number > expected) {
    const message = `expected batch ${expected} of epoch ${received.epoch}, got batch ${first.number}`
    throw new SallyportError('audit-gap', message, {
      clientMessage: message,
      hint: `send from batch ${expected} on`,
    })
  }
  const stored = await storedLinks(store, head, first.number, received.marks.at(-1)!.number)
  for (const [index, mark] of received.marks.entries()) {
    if (mark.number <= head.lastBatch) {
      if (stored.get(mark.number)?.equals(mark.link) !== true) {
        return { index, why: `batch ${mark.number} is stored with another link` }
      }
    } else if (mark.number === head.lastBatch + 1) {
      if (!mark.previousLink.equals(head.lastLink)) {
        return { index, why: `batch ${mark.number} does not follow the stored one` }
      }
      if (mark.firstSequence !== head.lastSequence + 1) {
        const why = `batch ${mark.number} starts with entry ${mark.firstSequence} after ${head.lastSequence}`
        return { index, why }
      }
    } else if (index === 0) {
      return { index, why: `batch ${mark.number} follows quarantined ones` }
    }
  }
  return undefined
}

async function setAside(
  context: AuditContext,
  { proxy, body }: SegmentsRequest,
  head: ChainHead,
  received: ReceivedBody,
  { index, why }: { index: number; why: string },
): Promise<SegmentsStored> {
  const marks = received.marks.slice(index)
  const last = marks.at(-1)!
  const bytes = body.subarray(marks[0]!.offset)
  const reason = `epoch ${received.epoch}: ${why}`
  await quarantine(context, {
    proxyId: proxy.proxyId,
    bytes,
    why: reason,
    batches: marks.length,
  })
  const rows = await context.store.query<{ countersignature: string }>(
    `with forked as (
       update audit_chains set forked_batch = greatest(forked_batch, $2::bigint) where chain_id = $1)
     select countersignature from audit_segments where chain_id = $1
     order by first_batch desc limit 1`,
    [head.chainId, last.number],
  )
  return {
    epoch: received.epoch,
    acknowledgedBatch: last.number,
    // Of what is stored: the head that was sent is not signed for.
    countersignature: rows[0]?.countersignature ?? '',
    quarantined: marks.length,
  }
}

async function storeChunk(
  context: AuditContext,
  { proxy, checkpoint }: SegmentsRequest,
  head: ChainHead,
  chunk: ReceivedChunk,
  countersignature: string,
): Promise<void> {
  const { store, realm, clock } = context
  const { proxyId } = proxy
  const changes = readSessionEntries(chunk.sessionEntries)
  const wanted = new Map<string, string | undefined>()
  for (const session of chunk.payloads.keys()) wanted.set(session, undefined)
  for (const session of chunk.hiddenPayloads.keys()) wanted.set(session, undefined)
  for (const { session_id, meta } of changes.opened) wanted.set(session_id, meta.retention)
  const keys = await ensureSessionKeys(context, proxyId, wanted)
  const hiddenWanted = new Map([...chunk.hiddenPayloads.keys()].map((id) => [id, wanted.get(id)]))
  const hiddenKeys = await ensureSessionKeys(context, proxyId, hiddenWanted, 'audit_hidden_keys')
  const sealAll = (all: ReceivedChunk['payloads'], under: typeof keys, hidden: boolean) =>
    [...all].map(([session, payloads]) => {
      const label = payloadLabel(realm, chunk.epoch, chunk.firstBatch, session, hidden)
      return { session, ciphertext: seal(under.get(session)!, payloads.bytes(), label) }
    })
  const groups = sealAll(chunk.payloads, keys, false)
  const hiddenGroups = sealAll(chunk.hiddenPayloads, hiddenKeys, true)
  const nowMs = Math.floor(clock.wallMs())
  await store.transaction(async (sql) => {
    const locked = await lockChain(sql, realm, proxyId, chunk.epoch)
    if ((locked?.lastBatch ?? 0) !== head.lastBatch) throw new Overtaken()
    const chainId = locked?.chainId ?? (await createChain(sql, realm, proxyId, chunk.epoch, nowMs))
    if (chainId === undefined) throw new Overtaken()
    const destroyed = await destroyedKeys(sql, realm, proxyId, [...wanted.keys()])
    if (destroyed.size > 0) throw new Overtaken()
    await sql.query(
      `insert into audit_segments (realm, chain_id, first_batch, last_batch, first_sequence,
         last_sequence, skeleton, checkpoint, countersignature, verbatim_bytes, received_at_ms)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
      [
        realm,
        chainId,
        chunk.firstBatch,
        chunk.lastBatch,
        chunk.firstSequence,
        chunk.lastSequence,
        Buffer.concat(chunk.skeleton),
        checkpoint,
        countersignature,
        chunk.verbatimBytes,
        nowMs,
      ],
    )
    const place = [realm, chainId, chunk.firstBatch]
    await insertPayloads(sql, 'audit_payloads', place, groups)
    await insertPayloads(sql, 'audit_hidden_payloads', place, hiddenGroups)
    await applySessionEntries(sql, context, { proxyId, chainId, nowMs }, changes, chunk.activities)
    await moveHead(sql, chainId, chunk, nowMs)
    await rememberKey(sql, context, proxyId, 'checkpoint', proxy.kid, proxy.publicKey)
  })
}

const payloadRowsAtOnce = 500

async function insertPayloads(
  sql: Sql,
  table: 'audit_payloads' | 'audit_hidden_payloads',
  common: readonly unknown[],
  groups: readonly { session: string; ciphertext: Buffer }[],
): Promise<void> {
  for (let start = 0; start < groups.length; start += payloadRowsAtOnce) {
    const rows = groups.slice(start, start + payloadRowsAtOnce)
    const values = rows.map((_, row) => `($1, $2, $3, $${row * 2 + 4}, $${row * 2 + 5})`)
    await sql.query(
      `insert into ${table} (realm, chain_id, first_batch, session_id, ciphertext)
       values ${values.join(', ')}`,
      [...common, ...rows.flatMap(({ session, ciphertext }) => [session, ciphertext])],
    )
  }
}
