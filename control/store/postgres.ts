/** A schema of a PostgreSQL server: a pool for transactions, one for statements, and a connection of its own for LISTEN. */
import {
  Client,
  DatabaseError,
  Pool,
  escapeIdentifier,
  types as defaultTypes,
  type CustomTypesConfig,
  type PoolClient,
  type PoolConfig,
  type QueryResult,
} from 'pg'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { QueryError } from './query-error.ts'
import type { Sql, Store, StoreEvents } from './store.ts'
import { insideTransaction, refuseInsideTransaction } from './transaction-scope.ts'

const connectionsMax = 10
/**
 * Statements outside of transactions have their own: transactions may all be waiting for a lock, and the feed is read, and
 * proxies' questions are answered, all the same.
 */
const statementConnectionsMax = 5
const connectMs = 5_000
const statementMs = 60_000
const relistenMs = 500
const int8 = 20
const int8Array = 1016

function safeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new Error(`integer above 2^53 - 1: ${text}`)
  return value
}
const types: CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (format !== 'binary') {
      if (oid === int8) return safeInteger
      if (oid === int8Array) {
        return (text: string) =>
          text === '{}' ? [] : text.slice(1, -1).split(',').map(safeInteger)
      }
    }
    // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- an OID need not be in their list
    return defaultTypes.getTypeParser(oid, format) as unknown
  },
}

/** Connects lazily: what is wrong with the URL shows at the first statement. */
export function openPostgres(databaseUrl: string, schema: string, events: StoreEvents): Store {
  const configuration: PoolConfig = {
    connectionString: databaseUrl,
    options: `-c search_path=${schema}`,
    application_name: `sallyport-control-${schema}`,
    connectionTimeoutMillis: connectMs,
    keepAlive: true,
    types,
  }
  const openPool = (max: number): Pool => {
    const pool = new Pool({
      ...configuration,
      max,
      statement_timeout: statementMs,
      idle_in_transaction_session_timeout: statementMs,
    })
    pool.on('error', (error) => events.troubled?.(error))
    return pool
  }
  const statements = openPool(statementConnectionsMax)
  const transactions = openPool(connectionsMax)
  const identity = {}
  const listeners = new Set<{ stop(): Promise<void> }>()
  let closed: Promise<void> | undefined

  return {
    query<T>(text: string, parameters?: readonly unknown[]) {
      refuseInsideTransaction(identity)
      return send<T>(statements, text, parameters)
    },
    async transaction<T>(run: (sql: Sql) => Promise<T>) {
      refuseInsideTransaction(identity)
      const client = await transactions.connect().catch((error: unknown) => {
        throw translate(error)
      })
      // A connection that fails between two statements says so here, and again at the next one.
      const troubled = (error: Error): void => events.troubled?.(error)
      client.on('error', troubled)
      const sql: Sql = {
        query: <R>(text: string, parameters?: readonly unknown[]) =>
          send<R>(client, text, parameters),
      }
      let broken = false
      try {
        await sql.query('begin')
        const result = await insideTransaction(identity, sql, run)
        await sql.query('commit')
        return result
      } catch (error) {
        await sql.query('rollback').catch(() => (broken = true))
        throw error
      } finally {
        client.off('error', troubled)
        client.release(broken)
      }
    },
    async listen(channel, ring) {
      const listener = await startListener(configuration, channel, ring, events)
      listeners.add(listener)
      return async () => {
        listeners.delete(listener)
        await listener.stop()
      }
    },
    close() {
      closed ??= (async () => {
        await Promise.all([...listeners].map((listener) => listener.stop()))
        await Promise.all([statements.end(), transactions.end()])
      })()
      return closed
    },
  }
}

async function send<T>(
  to: Pool | PoolClient,
  text: string,
  parameters: readonly unknown[] | undefined,
): Promise<T[]> {
  try {
    // Without parameters: the simple protocol, which allows several statements.
    const result: unknown =
      parameters === undefined || parameters.length === 0
        ? await to.query(text)
        : await to.query(text, [...parameters])
    const last = (Array.isArray(result) ? result.at(-1) : result) as QueryResult
    return last.rows as T[]
  } catch (error) {
    throw translate(error)
  }
}

/** SQLSTATE classes that speak of the server and not of the statement (PostgreSQL, appendix A). */
const serverTrouble = /^(08|53|57P|58)/

function translate(error: unknown): Error {
  if (error instanceof DatabaseError && !serverTrouble.test(error.code ?? '')) {
    return new QueryError(error.message, error.code ?? 'XX000', error.constraint)
  }
  const message = error instanceof Error ? error.message || error.name : String(error)
  return new SallyportError('store-unavailable', `PostgreSQL: ${message}`, {
    clientMessage: 'control’s store does not answer',
    hint: 'try again; if it lasts, ask the operator to look at the log of control',
    cause: error,
  })
}

/** For what is tried again, or over anyway. */
function ignoreFailure(work: Promise<unknown>): void {
  work.catch(() => {})
}

async function startListener(
  configuration: PoolConfig,
  channel: string,
  ring: () => void,
  events: StoreEvents,
): Promise<{ stop(): Promise<void> }> {
  let stopped = false
  let client: Client | undefined
  let retry: { cancel(): void } | undefined

  const connect = async (): Promise<void> => {
    const next = new Client(configuration)
    let lost = false
    const relisten = (error?: Error): void => {
      if (lost || stopped) return
      lost = true
      if (error !== undefined) events.troubled?.(error)
      ignoreFailure(next.end())
      retry = systemClock.startTimer(relistenMs, () => {
        ignoreFailure(connect())
      })
    }
    next.on('error', relisten)
    next.on('end', () => relisten())
    next.on('notification', ring)
    try {
      await next.connect()
      await next.query(`listen ${escapeIdentifier(channel)}`)
    } catch (error) {
      relisten(translate(error))
      return
    }
    if (stopped) {
      await next.end()
      return
    }
    client = next
    ring()
  }
  await connect()
  return {
    async stop() {
      stopped = true
      retry?.cancel()
      await client?.end().catch(() => {})
    },
  }
}
