import { randomUUID } from 'node:crypto'
import { assert } from '../../protocols/kit/assert.ts'
import type { ProxyStartedMeta } from '../../control/api/audit/format.ts'
import { Outbox } from './outbox.ts'
import { RecentBatches } from './recent-batches.ts'
import { recover, type Recovered } from './recover.ts'
import { systemFiles, unwritable, type SpoolFiles } from './spool-files.ts'
import { defaultSpoolLimits, type Spool, type SpoolOptions } from './spool-types.ts'
import { WritableSpool } from './spool.ts'

/** Damage named in `proxy-started`; the rest is counted. */
const damageMax = 100

/**
 * Reads what earlier boots left, begins an epoch of its own, and writes `proxy-started` durably: with the head of the
 * epoch before, the sessions it left open, and what could not be read. Rejects with `audit-unwritable` if the
 * directory cannot be read or written, because nothing may happen without the audit. `files` is for tests.
 */
export async function openSpool(
  options: SpoolOptions,
  files: SpoolFiles = systemFiles,
): Promise<Spool> {
  const { directory, key, clock, version, log, proxyId } = options
  assert(key.length === 32, 'the key of the spool has 32 bytes')
  const limits = { ...defaultSpoolLimits, ...options.limits }
  let recovered: Recovered
  try {
    recovered = await recover(directory, key)
  } catch (error) {
    throw unwritable(`recovery of ${directory}`, error)
  }
  const { boot, previous, lines, ledger, lostSessions } = recovered
  const epoch = randomUUID()
  const head =
    previous === undefined ? undefined : { ...previous, link: previous.link.toString('hex') }
  const recent = new RecentBatches()
  const outbox = new Outbox({ directory, key, ledger, recent, lines, boot, epoch, head })
  const parts = { epoch, boot, directory, key, clock, limits, files, ledger, recent, outbox }
  const spool = new WritableSpool(parts)
  const started: ProxyStartedMeta = {
    version,
    ...(head === undefined ? {} : { previous: head }),
    lostSessions,
    damage: bounded(recovered.damage),
  }
  try {
    await outbox.remember()
  } catch (error) {
    throw unwritable(directory, error)
  }
  spool.appendMeta('proxy-started', undefined, started)
  await spool.commitNow('synced')
  const fields = { proxyId, boot, epoch, behind: outbox.behind, lostSessions: lostSessions.length }
  if (recovered.damage.length > 0) {
    log.error({ ...fields, damage: started.damage }, 'the audit spool was damaged; see damage')
  } else {
    log.info(fields, 'the audit spool is open')
  }
  return spool
}

function bounded(damage: readonly string[]): string[] {
  if (damage.length <= damageMax) return [...damage]
  return [...damage.slice(0, damageMax), `and ${damage.length - damageMax} more`]
}
