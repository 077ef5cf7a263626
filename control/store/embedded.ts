/** A PGlite database in a worker thread: one connection, so statements queue while a transaction runs. */
import { Worker } from 'node:worker_threads'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { EmbeddedAnswer, EmbeddedCall } from './embedded-calls.ts'
import { QueryError } from './query-error.ts'
import type { Sql, Store, StoreEvents } from './store.ts'
import { insideTransaction, refuseInsideTransaction } from './transaction-scope.ts'

/** Statements that wait; past it the store is overloaded and says so. */
const waitingMax = 10_000

interface Pending {
  resolve(rows: unknown[]): void
  reject(error: Error): void
}
type CallContent =
  | { kind: 'query'; text: string; parameters: unknown[] | undefined }
  | { kind: 'listen'; channel: string }
  | { kind: 'close' }

/** Opens, or creates, the database in `directory`. Rejects with `store-unavailable`. */
export async function openEmbedded(
  directory: string,
  schema: string,
  events: StoreEvents,
): Promise<Store> {
  const worker = new Worker(new URL('./embedded-worker.ts', import.meta.url), {
    workerData: { directory, schema, yields: schema === 'audit' },
    execArgv: [],
  })
  const pending = new Map<number, Pending>()
  const rings = new Map<string, Set<() => void>>()
  const identity = {}
  let nextId = 1
  let ended: Error | undefined
  let closing = false

  const call = (content: CallContent): Promise<unknown[]> =>
    new Promise((resolve, reject) => {
      if (ended !== undefined) {
        reject(ended)
        return
      }
      const id = nextId++
      pending.set(id, { resolve, reject })
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker, not a window
      worker.postMessage({ id, ...content } satisfies EmbeddedCall)
    })
  const end = (reason: string): void => {
    if (ended !== undefined) return
    ended = unavailable(`the embedded database ${schema} ended: ${reason}`)
    for (const waiting of pending.values()) waiting.reject(ended)
    pending.clear()
    if (!closing) events.lost?.(ended)
  }

  await new Promise<void>((resolve, reject) => {
    worker.on('message', (answer: EmbeddedAnswer) => {
      switch (answer.kind) {
        case 'ready':
          resolve()
          break
        case 'failed':
          closing = true
          reject(
            unavailable(
              `the embedded database in ${directory} cannot be opened: ${answer.message}`,
            ),
          )
          break
        case 'ring':
          for (const ring of rings.get(answer.channel) ?? []) ring()
          break
        case 'rows':
          take(answer.id)?.resolve(withBuffers(answer.rows, answer.bytesColumns))
          break
        case 'error':
          take(answer.id)?.reject(
            new QueryError(answer.message, answer.sqlState, answer.constraint),
          )
          break
      }
    })
    worker.on('error', (error: Error) => {
      end(error.message)
      reject(unavailable(error.message))
    })
    worker.on('exit', (code) => {
      end(`its worker exited with ${code}`)
      reject(unavailable(`the worker of ${schema} exited with ${code}`))
    })
  })

  function take(id: number): Pending | undefined {
    const found = pending.get(id)
    pending.delete(id)
    return found
  }

  let waiting = 0
  let tail: Promise<unknown> = Promise.resolve()
  /** Runs one at a time, in order. */
  const exclusively = <T>(run: () => Promise<T>): Promise<T> => {
    if (waiting >= waitingMax) {
      return Promise.reject(unavailable(`${waitingMax} statements wait for the embedded database`))
    }
    waiting += 1
    const result = tail.then(run)
    tail = result.then(
      () => (waiting -= 1),
      () => (waiting -= 1),
    )
    return result
  }
  const direct: Sql = {
    query: <T>(text: string, parameters?: readonly unknown[]) =>
      call({ kind: 'query', text, parameters: listed(parameters) }) as Promise<T[]>,
  }

  return {
    query<T>(text: string, parameters?: readonly unknown[]) {
      refuseInsideTransaction(identity)
      return exclusively(() => direct.query<T>(text, parameters))
    },
    transaction<T>(run: (sql: Sql) => Promise<T>) {
      refuseInsideTransaction(identity)
      return exclusively(async () => {
        await direct.query('begin')
        try {
          const result = await insideTransaction(identity, direct, run)
          await direct.query('commit')
          return result
        } catch (error) {
          if (ended === undefined) await direct.query('rollback')
          throw error
        }
      })
    },
    async listen(channel, ring) {
      const others = rings.get(channel)
      if (others === undefined) {
        rings.set(channel, new Set([ring]))
        await exclusively(() => call({ kind: 'listen', channel }))
      } else {
        others.add(ring)
      }
      return async () => {
        rings.get(channel)?.delete(ring)
      }
    },
    async close() {
      if (closing) return
      closing = true
      const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
      await exclusively(() => call({ kind: 'close' })).catch(() => worker.terminate())
      if (ended === undefined) await exited
    },
  }
}

function listed(parameters: readonly unknown[] | undefined): unknown[] | undefined {
  if (parameters === undefined || parameters.length === 0) return undefined
  return parameters.map((value) =>
    // A view would take all the memory it looks at along to the other thread.
    Buffer.isBuffer(value) && value.byteLength !== value.buffer.byteLength
      ? Uint8Array.prototype.slice.call(value)
      : value,
  )
}

/** Bytes arrive from the other thread as Uint8Array. */
function withBuffers(rows: unknown[], columns: readonly string[]): unknown[] {
  for (const row of rows as Record<string, unknown>[]) {
    for (const column of columns) {
      const value = row[column]
      if (value instanceof Uint8Array) {
        row[column] = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      }
    }
  }
  return rows
}

function unavailable(message: string): SallyportError {
  return new SallyportError('store-unavailable', message, {
    clientMessage: 'control’s store does not answer',
    hint: 'try again; if it lasts, ask the operator to look at the log of control',
  })
}
