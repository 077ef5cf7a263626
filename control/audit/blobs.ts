/** Texts too long for a record: they arrive in parts, in order, and are named by the hash of the whole. */
import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { seal, unseal } from '../../protocols/kit/sealed-file.ts'
import type { AuditContext } from './dependencies.ts'
import { destroyedKeys, ensureSessionKeys, openSessionKeys } from './session-keys.ts'

export const blobPartBytesMax = 8 * 1024 * 1024
/** Length of one blob: a message at its longest, and a little. */
export const blobBytesMax = 1024 * 1024 * 1024

export interface BlobPart {
  readonly proxyId: string
  /** Session whose key encrypts it. */
  readonly session: string
  /** Of the whole, hex. */
  readonly sha256: string
  /** Where this part starts. */
  readonly offset: number
  /** Length of the whole. */
  readonly total: number
  readonly bytes: Buffer
}

interface BlobRow {
  blob_id: number
  total_bytes: number
  received_bytes: number
  completed_at_ms: number | null
}

/**
 * Stores one part durably. A part that is stored already is taken again. With the last one the hash of the whole is checked;
 * if it is wrong, all parts are forgotten. Rejects with `request-invalid`, or `audit-corrupt` for the wrong hash.
 */
export async function storeBlobPart(context: AuditContext, part: BlobPart): Promise<void> {
  const { store, realm, clock } = context
  const length = part.bytes.length
  const end = part.offset + length
  if (length === 0 || length > blobPartBytesMax || part.total > blobBytesMax || end > part.total) {
    throw refuse(part, `part of ${length} bytes at ${part.offset} of ${part.total}`)
  }
  const keys = await ensureSessionKeys(context, part.proxyId, new Map([[part.session, undefined]]))
  const key = keys.get(part.session)!
  const blob = await store.transaction(async (sql) => {
    const names = [realm, part.proxyId, part.session, part.sha256]
    await sql.query(
      `insert into audit_blobs
         (realm, proxy_id, session_id, sha256, total_bytes, received_bytes, created_at_ms)
       values ($1, $2, $3, $4, $5, 0, $6) on conflict do nothing`,
      [...names, part.total, Math.floor(clock.wallMs())],
    )
    const [row] = await sql.query<BlobRow>(
      `select blob_id, total_bytes, received_bytes, completed_at_ms from audit_blobs
       where realm = $1 and proxy_id = $2 and session_id = $3 and sha256 = $4 for update`,
      names,
    )
    if (row === undefined) throw refuse(part, 'the blob is gone')
    if (row.total_bytes !== part.total) throw refuse(part, `the whole has ${row.total_bytes} bytes`)
    if (row.completed_at_ms !== null || end <= row.received_bytes) return row
    if (part.offset !== row.received_bytes) {
      throw refuse(part, `part at ${part.offset}, expected the one at ${row.received_bytes}`)
    }
    const destroyed = await destroyedKeys(sql, realm, part.proxyId, [part.session])
    if (destroyed.size > 0) throw refuse(part, 'its session’s key was destroyed just now')
    await sql.query(
      `insert into audit_blob_parts (realm, blob_id, offset_bytes, part_bytes, ciphertext)
       values ($1, $2, $3, $4, $5)`,
      [
        realm,
        row.blob_id,
        part.offset,
        length,
        seal(key, part.bytes, partLabel(part, part.offset)),
      ],
    )
    await sql.query('update audit_blobs set received_bytes = $2 where blob_id = $1', [
      row.blob_id,
      end,
    ])
    return { ...row, received_bytes: end }
  })
  if (blob.completed_at_ms === null && blob.received_bytes === part.total) {
    await completeBlob(context, part, blob.blob_id)
  }
}

async function completeBlob(context: AuditContext, part: BlobPart, blobId: number): Promise<void> {
  const { store, clock, log } = context
  const digest = createHash('sha256')
  for await (const bytes of readBlobParts(context, part, blobId)) digest.update(bytes)
  if (digest.digest('hex') === part.sha256) {
    await store.query('update audit_blobs set completed_at_ms = $2 where blob_id = $1', [
      blobId,
      Math.floor(clock.wallMs()),
    ])
    return
  }
  await store.query('delete from audit_blobs where blob_id = $1 and completed_at_ms is null', [
    blobId,
  ])
  const { proxyId, session, sha256 } = part
  log.error(
    { proxyId, session, sha256 },
    'a blob of the audit does not have the hash it was sent as',
  )
  const message = `blob ${sha256}: the whole does not have this hash`
  throw new SallyportError('audit-corrupt', message, { clientMessage: message })
}

type BlobName = Pick<BlobPart, 'proxyId' | 'session' | 'sha256'>

/**
 * The parts of a complete blob, decrypted, in order; nothing if there is no such blob or its key was destroyed. The
 * caller has checked rights and has audited the reading.
 */
export async function* readBlob(context: AuditContext, name: BlobName): AsyncGenerator<Buffer> {
  const rows = await context.store.query<{ blob_id: number }>(
    `select blob_id from audit_blobs where realm = $1 and proxy_id = $2 and session_id = $3
       and sha256 = $4 and completed_at_ms is not null`,
    [context.realm, name.proxyId, name.session, name.sha256],
  )
  if (rows[0] !== undefined) yield* readBlobParts(context, name, rows[0].blob_id)
}

async function* readBlobParts(
  context: AuditContext,
  name: BlobName,
  blobId: number,
): AsyncGenerator<Buffer> {
  const keys = await openSessionKeys(context, name.proxyId, [name.session])
  const key = keys.get(name.session)
  if (key === undefined) return
  for (let offset = 0; ;) {
    const [row] = await context.store.query<{ ciphertext: Buffer }>(
      'select ciphertext from audit_blob_parts where blob_id = $1 and offset_bytes = $2',
      [blobId, offset],
    )
    if (row === undefined) return
    const bytes = unseal(key, row.ciphertext, partLabel(name, offset))
    yield bytes
    offset += bytes.length
    await setImmediate()
  }
}

function partLabel({ proxyId, session, sha256 }: BlobName, offset: number): string {
  return `sallyport-blob|${proxyId}|${session}|${sha256}|${offset}`
}

function refuse({ sha256 }: BlobName, problem: string): SallyportError {
  const message = `blob ${sha256.slice(0, 16)}…: ${problem}`
  return new SallyportError('request-invalid', message, {
    clientMessage: message,
    hint: 'send the parts in order, from the expected one on',
  })
}
