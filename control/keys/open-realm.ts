import { randomUUID } from 'node:crypto'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { nowMs } from '../control.ts'
import { takeLock } from '../store/advisory-lock.ts'
import type { Store } from '../store/store.ts'

export interface OpenedRealm {
  /** UUID: the epoch of control's own chain. */
  readonly chainEpoch: string
  /** Whether it was made just now. */
  readonly isNew: boolean
}

/** Positions leave this much room per second, so that a younger database is always ahead of an older one's feed. */
const positionsPerSecond = 1_000_000

/**
 * Opens the realm, or makes it with its first proxy group. Rejects with `demo-in-production` when its mark is not the one
 * that control was started with.
 */
export async function openRealm(
  state: Store,
  options: { realm: string; demo: boolean; domain: string; clock: Clock },
): Promise<OpenedRealm> {
  const { realm, demo, domain, clock } = options
  const atMs = nowMs(clock)
  return state.transaction(async (sql) => {
    await takeLock(sql, 'keys', realm)
    const [found] = await sql.query<{ demo: boolean; chain_epoch: string }>(
      'select demo, chain_epoch from realms where realm = $1',
      [realm],
    )
    if (found !== undefined) {
      if (found.demo !== demo) throw mixture(found.demo)
      return { chainEpoch: found.chain_epoch, isNew: false }
    }
    const chainEpoch = randomUUID()
    await sql.query(
      'insert into realms (realm, demo, chain_epoch, created_at_ms) values ($1, $2, $3, $4)',
      [realm, demo, chainEpoch, atMs],
    )
    // A cursor that a proxy has from another database is then below the floor or ahead of the head: it resyncs.
    const position = Math.floor(atMs / 1_000) * positionsPerSecond
    await sql.query('insert into feed_heads (realm, position, floor) values ($1, $2, $2)', [
      realm,
      position,
    ])
    await sql.query('insert into resources_versions (realm, version) values ($1, 0)', [realm])
    await sql.query(
      `insert into proxy_groups (realm, name, domain, created_at_ms) values ($1, 'default', $2, $3)`,
      [realm, domain, atMs],
    )
    return { chainEpoch, isNew: true }
  })
}

function mixture(databaseIsDemo: boolean): SallyportError {
  const [message, hint] = databaseIsDemo
    ? [
        'this database was made by a demo, and control was started for real',
        'start with an empty data directory or database; nothing of a demo may be carried over',
      ]
    : [
        'this database is a real one, and control was started with --demo',
        'start without --demo, or give the demo a data directory of its own',
      ]
  return new SallyportError('demo-in-production', message, { clientMessage: message, hint })
}
