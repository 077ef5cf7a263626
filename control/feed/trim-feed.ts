import type { Store } from '../store/store.ts'

/** Deletes rows that were made before `beforeMs` and moves the floor, in one transaction. Returns how many. */
export async function trimFeed(state: Store, realm: string, beforeMs: number): Promise<number> {
  return state.transaction(async (sql) => {
    const [last] = await sql.query<{ position: number | null }>(
      'select max(position) as position from feed where realm = $1 and created_at_ms < $2',
      [realm, beforeMs],
    )
    if (last?.position === null || last === undefined) return 0
    await sql.query('update feed_heads set floor = greatest(floor, $2) where realm = $1', [
      realm,
      last.position,
    ])
    // By position, not by age: what is left must have no gap, whatever the clocks of the replicas said.
    const gone = await sql.query<{ n: number }>(
      `with gone as (delete from feed where realm = $1 and position <= $2 returning 1)
       select count(*) as n from gone`,
      [realm, last.position],
    )
    return gone[0]!.n
  })
}
