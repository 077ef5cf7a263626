/** The thread of one embedded database: opens PGlite and answers calls, one after the other. */
import { existsSync } from 'node:fs'
import { setPriority } from 'node:os'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { PGlite, types, type Results } from '@electric-sql/pglite'
import { DurableFilesystem, durableStartParameters, syncDirectory } from './durable-filesystem.ts'
import type { EmbeddedAnswer, EmbeddedCall } from './embedded-calls.ts'
import { writeBytes, writesBytes } from './write-bytes.ts'

const { directory, schema, yields } = workerData as {
  directory: string
  schema: string
  /** Its work can wait: a machine that is busy gives its time to sessions and decisions first. */
  yields: boolean
}
/** About a tenth of the share of a thread that does not yield (sched(7)). */
const niceOfYielding = 10
const port = parentPort!
// On Linux a priority belongs to a thread, and 0 is the calling one; elsewhere it would slow all of control.
if (yields && process.platform === 'linux') setPriority(0, niceOfYielding)
const int8Array = 1016

/** No checkpointer and no autovacuum run inside PGlite: without these the log would grow for ever. */
const walBytesBetweenCheckpoints = 64 * 1024 * 1024
const callsBetweenChecks = 500
const callsBetweenVacuums = 200_000

function answer(message: EmbeddedAnswer): void {
  port.postMessage(message)
}

function safeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new Error(`integer above 2^53 - 1: ${text}`)
  return value
}

/** PGlite's own ways with bytea take six to eight times as long. */
function hexOf(bytes: Uint8Array): string {
  return `\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`
}

function bytesOf(text: string): Uint8Array {
  // Not from a pool: what crosses to the other thread takes its whole memory along.
  const bytes = Buffer.allocUnsafeSlow((text.length - 2) / 2)
  bytes.write(text.slice(2), 'hex')
  return bytes
}

async function open(): Promise<PGlite> {
  const isNew = !existsSync(join(directory, 'PG_VERSION'))
  const database = await PGlite.create({
    fs: new DurableFilesystem(directory),
    startParams: durableStartParameters,
    relaxedDurability: false,
    serializers: { [types.BYTEA]: hexOf },
    parsers: {
      [types.BYTEA]: bytesOf,
      [types.INT8]: safeInteger,
      [int8Array]: (text: string) =>
        text === '{}' ? [] : text.slice(1, -1).split(',').map(safeInteger),
    },
  })
  await database.exec(`create schema if not exists ${schema}; set search_path to ${schema}`)
  if (isNew) {
    await database.exec('checkpoint')
    syncDirectory(directory)
  }
  return database
}

async function run(database: PGlite, call: EmbeddedCall): Promise<void> {
  if (call.kind === 'listen') {
    await database.listen(call.channel, () => answer({ kind: 'ring', channel: call.channel }))
    answer({ kind: 'rows', id: call.id, rows: [], bytesColumns: [] })
    return
  }
  if (call.kind === 'close') {
    await database.exec('checkpoint')
    await database.close()
    answer({ kind: 'rows', id: call.id, rows: [], bytesColumns: [] })
    return
  }
  if (call.parameters !== undefined && writesBytes(call.text, call.parameters)) {
    await writeBytes(database, call.text, call.parameters)
    answer({ kind: 'rows', id: call.id, rows: [], bytesColumns: [] })
    return
  }
  const results: Results[] =
    call.parameters === undefined
      ? await database.exec(call.text)
      : [await database.query(call.text, call.parameters)]
  const last = results.at(-1)
  answer({
    kind: 'rows',
    id: call.id,
    rows: last?.rows ?? [],
    bytesColumns: (last?.fields ?? [])
      .filter((field) => field.dataTypeID === types.BYTEA)
      .map((field) => field.name),
  })
}

let calls = 0
let checkpointedAt = '0/0'

async function upkeep(database: PGlite): Promise<void> {
  calls += 1
  if (calls % callsBetweenChecks !== 0 || database.isInTransaction()) return
  const { rows } = await database.query<{ bytes: number; here: string }>(
    `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::pg_lsn)::float8 as bytes,
            pg_current_wal_insert_lsn()::text as here`,
    [checkpointedAt],
  )
  if (rows[0]!.bytes < walBytesBetweenCheckpoints && calls % callsBetweenVacuums !== 0) return
  if (calls % callsBetweenVacuums === 0) await database.exec('vacuum (analyze)')
  await database.exec('checkpoint')
  checkpointedAt = rows[0]!.here
}

try {
  const database = await open()
  let tail: Promise<void> = Promise.resolve()
  port.on('message', (call: EmbeddedCall) => {
    tail = tail.then(async () => {
      try {
        await run(database, call)
      } catch (error) {
        const { message, code, constraint } = error as Error & {
          code?: string
          constraint?: string
        }
        answer({ kind: 'error', id: call.id, message, sqlState: code ?? 'XX000', constraint })
      }
      if (call.kind === 'close') process.exit(0)
      await upkeep(database)
    })
    // A database that cannot be checkpointed is lost: let the thread end, and everybody know.
    tail.catch((error: unknown) =>
      setImmediate(() => {
        throw error
      }),
    )
  })
  answer({ kind: 'ready' })
} catch (error) {
  answer({ kind: 'failed', message: error instanceof Error ? error.message : String(error) })
}
