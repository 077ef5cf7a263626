import type { Sql } from './store.ts'

/**
 * What is done by one transaction at a time, over all replicas. Where one takes several, it is in this order, after
 * all locks of rows: so nobody waits for each other.
 */
const locks = {
  migrations: 0x5a11_0001,
  keys: 0x5a11_0002,
  chain: 0x5a11_0003,
  feed: 0x5a11_0004,
  /** How many sign-ins are under way; together with no other. */
  logins: 0x5a11_0005,
}

/** Waits for the lock and holds it until the transaction ends. `realm` '' stands for all. */
export async function takeLock(sql: Sql, lock: keyof typeof locks, realm: string): Promise<void> {
  await sql.query('select pg_advisory_xact_lock($1::int, hashtext($2))', [locks[lock], realm])
}
