/**
 * Control's two databases. Without a `DATABASE_URL` both are PGlite, each in a worker thread of its own, so that a
 * slow search never waits in front of a revocation; with one, both are schemas of that PostgreSQL. One dialect, one set of
 * migrations and queries. No statement joins the two.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { lockDataDirectory } from './data-directory-lock.ts'
import { openEmbedded } from './embedded.ts'
import { migrate } from './migrate.ts'
import { openPostgres } from './postgres.ts'

export interface Sql {
  /**
   * Runs a statement and returns its rows. Columns: int8 as a number (throws above 2^53 - 1), bytea as Buffer, json and
   * jsonb parsed, numeric as text. Parameters: null, boolean, number, text, Buffer, flat arrays of these; JSON goes in as text
   * (`JSON.stringify`). Without parameters the text may hold several statements; the rows are the last one's.
   * Rejects with `QueryError` for what the database refused, `store-unavailable` when it cannot be reached.
   */
  query<T>(text: string, parameters?: readonly unknown[]): Promise<T[]>
}

export interface Store extends Sql {
  /**
   * Commits when `run` resolves, rolls back when it rejects. READ COMMITTED, unless the first statement sets another level.
   * Inside of `run` use only the `sql` it is given: a statement on the store itself throws, because the embedded one,
   * with its single connection, would wait for itself.
   */
  transaction<T>(run: (sql: Sql) => Promise<T>): Promise<T>
  /**
   * Calls `ring` after notifications on the channel, and after each reconnect (some may have been missed). A doorbell:
   * it may ring too often, and a poll must stand behind it. Returns how to stop.
   */
  listen(channel: string, ring: () => void): Promise<() => Promise<void>>
  close(): Promise<void>
}

export interface Stores {
  readonly state: Store
  readonly audit: Store
  /** Resolves if both answer; rejects with `store-unavailable`. */
  probe(): Promise<void>
  close(): Promise<void>
}

export interface StoreEvents {
  /** An embedded database died (its worker ended); nothing but a new start of the process helps. */
  readonly lost?: (error: Error) => void
  /** A connection in the background failed and is being made again. */
  readonly troubled?: (error: Error) => void
}

export type StoreOptions = { readonly dataDir: string } | { readonly databaseUrl: string }

/** Opens both, and applies the migrations they lack. Rejects with `store-unavailable` or `config-invalid`. */
export async function openStores(options: StoreOptions, events: StoreEvents = {}): Promise<Stores> {
  if ('databaseUrl' in options) {
    const stores = {
      state: openPostgres(options.databaseUrl, 'state', events),
      audit: openPostgres(options.databaseUrl, 'audit', events),
    }
    return prepare(stores.state, stores.audit, () => {})
  }
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 })
  const unlock = lockDataDirectory(options.dataDir)
  try {
    const opened = await Promise.allSettled([
      openEmbedded(join(options.dataDir, 'state'), 'state', events),
      openEmbedded(join(options.dataDir, 'audit'), 'audit', events),
    ])
    const failed = opened.find((result) => result.status === 'rejected')
    const [state, audit] = opened.map((result) =>
      result.status === 'fulfilled' ? result.value : undefined,
    )
    if (failed !== undefined || state === undefined || audit === undefined) {
      await state?.close()
      await audit?.close()
      throw failed?.reason ?? new Error('unreachable')
    }
    return await prepare(state, audit, unlock)
  } catch (error) {
    unlock()
    throw error
  }
}

async function prepare(state: Store, audit: Store, unlock: () => void): Promise<Stores> {
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    closed ??= Promise.allSettled([state.close(), audit.close()]).then(unlock)
    return closed
  }
  try {
    // One after the other: PostgreSQL has one advisory lock for both schemas.
    await migrate(state, 'state')
    await migrate(audit, 'audit')
  } catch (error) {
    await close()
    throw error
  }
  return {
    state,
    audit,
    close,
    async probe() {
      await Promise.all([state.query('select 1'), audit.query('select 1')])
    },
  }
}
