/** Finds statements that were sent around the transaction they run inside of. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { assert } from '../../protocols/kit/assert.ts'
import type { Sql } from './store.ts'

interface Scope {
  readonly store: object
  open: boolean
  readonly outer: Scope | undefined
}
const scopes = new AsyncLocalStorage<Scope>()

/** Runs `run`; its `sql` stops working once it is over. */
export async function insideTransaction<T>(
  store: object,
  sql: Sql,
  run: (sql: Sql) => Promise<T>,
): Promise<T> {
  const scope: Scope = { store, open: true, outer: scopes.getStore() }
  const bounded: Sql = {
    async query(text, parameters) {
      assert(scope.open, 'a statement was sent after its transaction had ended')
      return sql.query(text, parameters)
    },
  }
  try {
    return await scopes.run(scope, run, bounded)
  } finally {
    scope.open = false
  }
}

/** Throws when called from inside of a transaction of the same store. */
export function refuseInsideTransaction(store: object): void {
  for (let scope = scopes.getStore(); scope !== undefined; scope = scope.outer) {
    assert(
      scope.store !== store || !scope.open,
      'inside of a transaction, use the sql it was given, not the store',
    )
  }
}
