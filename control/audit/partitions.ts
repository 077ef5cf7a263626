/** Daily partitions of the search index: made on demand, dropped when they are empty and past. */
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Store } from '../store/store.ts'

const dayMs = 86_400_000
const pastDaysMax = 400
const aheadDaysMax = 2

/** The day (since 1970, UTC) of a moment in microseconds. */
export function dayOfUs(atUs: number): number {
  return Math.floor(atUs / (dayMs * 1_000))
}

/** Name of the partition of a day. */
export function partitionName(day: number): string {
  return `audit_activities_${new Date(day * dayMs).toISOString().slice(0, 10).replaceAll('-', '')}`
}

export interface Partitions {
  /** Makes the partitions of these days. Moments years off stay in the default partition. */
  ensure(days: Iterable<number>): Promise<void>
  /** Drops the empty partitions of days that are over; returns their names. */
  dropEmpty(): Promise<string[]>
}

const lock = `select pg_advisory_xact_lock(hashtext('sallyport-audit-partitions'))`

export function createPartitions(store: Store, clock: Clock): Partitions {
  const known = new Set<number>()

  const create = (day: number): Promise<void> =>
    store.transaction(async (sql) => {
      await sql.query(lock)
      const name = partitionName(day)
      if (await exists(name)(sql)) return
      const from = day * dayMs * 1_000
      const to = from + dayMs * 1_000
      // Rows that lie in the default partition would refuse the new one; they are found there as well.
      const stray = await sql.query(
        'select 1 from audit_activities_default where at_us >= $1 and at_us < $2 limit 1',
        [from, to],
      )
      if (stray.length > 0) return
      // Attaching locks the whole index less than creating in place: searches go on.
      await sql.query(`create table ${name} (like audit_activities including all)`)
      await sql.query(
        `alter table audit_activities attach partition ${name} for values from (${from}) to (${to})`,
      )
    })

  return {
    async ensure(days) {
      const today = Math.floor(clock.wallMs() / dayMs)
      for (const day of days) {
        if (known.has(day) || day < today - pastDaysMax || day > today + aheadDaysMax) continue
        await create(day)
        known.add(day)
      }
    },

    async dropEmpty() {
      const today = Math.floor(clock.wallMs() / dayMs)
      const rows = await store.query<{ name: string }>(
        `select c.relname::text as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where i.inhparent = 'audit_activities'::regclass and c.relname ~ '_[0-9]{8}$'
         order by c.relname`,
      )
      const dropped: string[] = []
      for (const { name } of rows) {
        if (name >= partitionName(today - 1)) continue
        const gone = await store.transaction(async (sql) => {
          await sql.query(lock)
          if (!(await exists(name)(sql))) return false
          await sql.query(`select set_config('lock_timeout', '2000', true)`)
          await sql.query(`lock table ${name} in access exclusive mode`)
          if ((await sql.query(`select 1 from ${name} limit 1`)).length > 0) return false
          await sql.query(`drop table ${name}`)
          return true
        })
        if (gone) dropped.push(name)
      }
      known.clear()
      return dropped
    },
  }
}

const exists =
  (name: string) =>
  async (sql: Pick<Store, 'query'>): Promise<boolean> => {
    const rows = await sql.query<{ found: boolean }>(
      'select to_regclass($1) is not null as found',
      [name],
    )
    return rows[0]?.found === true
  }
