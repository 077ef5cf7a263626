import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { sleep, type Timer } from '../../protocols/kit/clock.ts'
import type { AuditContext } from './dependencies.ts'
import { indexSegment, IndexOvertaken, type UnindexedSegment } from './index-segment.ts'
import { createPartitions } from './partitions.ts'

export interface IndexerOptions {
  /** Entries in one transaction. Default 2,000. */
  readonly entriesAtOnce?: number
  /** Looks for work this often even when nobody rings: another replica may have died. Default 1,000. */
  readonly pollMs?: number
}

/** Fills the search index from stored segments, behind the ingest. */
export interface Indexer {
  /** To be called after each ingest. */
  ring(): void
  /** Resolves once there is nothing to index. For tests and for shutting down. */
  idle(): Promise<void>
  /** Stops after the slice at hand. */
  close(): Promise<void>
}

/** A replica that dies leaves its chain to others after this. */
const claimMs = 15_000
/** A segment that cannot be indexed is tried again after this. */
const retryMs = 30_000
/**
 * Pauses after a slice, as shares of the time it took. While proxies ship, indexing leaves most of the machine to them:
 * it catches up when they are quiet, or once it is too far behind.
 */
const pauseShare = { busy: 16, quiet: 0.25 }
const pauseMsMax = 3_000
/** So few entries are somebody at a terminal, whom an auditor may watch: they are searchable within a second. */
const fewEntries = 200
const fewPauseMsMax = 100
/** Within a pause it looks this often whether they have become quiet. */
const lookMs = 100
const busyMs = 1_000
const lagMsMax = 60_000

/**
 * Several replicas share the work: each claims one chain at a time, and a slice is written only where the one before
 * it ended, so that nothing is indexed twice even if a claim is lost.
 */
export function createIndexer(context: AuditContext, options: IndexerOptions = {}): Indexer {
  const { clock, log } = context
  const replica = randomUUID()
  const partitions = createPartitions(context.store, clock)
  const retryAtMs = new Map<number, number>()
  const state = {
    rung: false,
    closed: false,
    rungAtMs: -Infinity,
    sliceAtMs: 0,
    lagMs: 0,
    /** Of the segment at hand. */
    entries: 0,
    running: undefined as Promise<void> | undefined,
    /** Aborted by whoever waits for the end of the work: no more pauses. */
    hurry: new AbortController(),
  }
  let timer: Timer | undefined

  /** Lets others work after a slice that began at `state.sliceAtMs`; false when it is time to stop. */
  const proceed = async (): Promise<boolean> => {
    const beganMs = clock.monotonicMs()
    const tookMs = beganMs - state.sliceAtMs
    let pauses = true
    while (pauses && !state.closed && !state.hurry.signal.aborted) {
      const nowMs = clock.monotonicMs()
      const busy = nowMs - state.rungAtMs < busyMs && state.lagMs < lagMsMax
      const longestMs = state.entries <= fewEntries ? fewPauseMsMax : pauseMsMax
      const pauseMs = Math.min(longestMs, tookMs * (busy ? pauseShare.busy : pauseShare.quiet))
      const leftMs = beganMs + pauseMs - nowMs
      pauses = leftMs >= 1
      if (pauses) await sleep(clock, Math.min(leftMs, lookMs), state.hurry.signal).catch(() => {})
    }
    await setImmediate()
    state.sliceAtMs = clock.monotonicMs()
    return !state.closed
  }

  const step = async (): Promise<boolean> => {
    const nowMs = clock.monotonicMs()
    for (const [chainId, atMs] of retryAtMs) if (atMs <= nowMs) retryAtMs.delete(chainId)
    const segment = await claimSegment(context, replica, [...retryAtMs.keys()])
    if (segment === undefined) return false
    state.entries = segment.lastSequence - segment.indexedSequence
    try {
      await indexSegment(context, partitions, segment, {
        entriesAtOnce: options.entriesAtOnce ?? 2_000,
        proceed,
        claimUntilMs: () => Math.floor(clock.wallMs()) + claimMs,
      })
    } catch (error) {
      if (error instanceof IndexOvertaken) return true
      retryAtMs.set(segment.chainId, clock.monotonicMs() + retryMs)
      log.error(
        { error, proxyId: segment.proxyId, epoch: segment.epoch, firstBatch: segment.firstBatch },
        'a stored segment cannot be indexed; it is safe, search misses it, and it is tried again',
      )
    }
    return true
  }

  const readLag = async (): Promise<void> => {
    state.lagMs = await readIndexLagMs(context)
    context.metrics.indexLagMs(state.lagMs)
  }

  const run = async (): Promise<void> => {
    do {
      state.rung = false
      try {
        state.sliceAtMs = clock.monotonicMs()
        while (!state.closed && (await step()) && (await proceed())) await readLag()
        if (!state.closed) await readLag()
      } catch (error) {
        if (!state.closed) log.error({ error }, 'the audit store cannot be read for indexing')
        return
      }
    } while (state.rung && !state.closed)
  }

  const wake = (): void => {
    state.rung = true
    if (state.closed || state.running !== undefined) return
    state.running = run().finally(() => {
      state.running = undefined
      // Rung after the last look, before this.
      if (state.rung) wake()
    })
  }

  const poll = (): void => {
    wake()
    timer = clock.startTimer(options.pollMs ?? 1_000, poll)
  }
  poll()

  return {
    ring() {
      state.rungAtMs = clock.monotonicMs()
      wake()
    },
    async idle() {
      wake()
      state.hurry.abort()
      while (state.running !== undefined) await state.running
      state.hurry = new AbortController()
    },
    async close() {
      state.closed = true
      timer?.cancel()
      state.hurry.abort()
      await state.running
    },
  }
}

/** Claims the chain that waits longest and returns its next segment; undefined where nothing waits. */
async function claimSegment(
  { store, realm, clock }: AuditContext,
  replica: string,
  skipped: readonly number[],
): Promise<UnindexedSegment | undefined> {
  const nowMs = Math.floor(clock.wallMs())
  const [claim] = await store.query<{ chain_id: number; indexed_sequence: number }>(
    `with waiting as (
       select p.chain_id from audit_segments s join index_progress p using (chain_id)
       where s.indexed_at_ms is null and p.realm = $1
         and (p.claimed_by = $2 or p.claimed_by is null or p.claimed_until_ms < $3)
         and not p.chain_id = any($4::bigint[])
       order by s.received_at_ms, s.chain_id, s.first_batch limit 1
       for update of p skip locked)
     update index_progress p set claimed_by = $2, claimed_until_ms = $3::bigint + $5::bigint
     from waiting where p.chain_id = waiting.chain_id
     returning p.chain_id, p.indexed_sequence`,
    [realm, replica, nowMs, skipped, claimMs],
  )
  if (claim === undefined) return undefined
  const [segment] = await store.query<{
    proxy_id: string
    epoch: string
    first_batch: number
    last_sequence: number
  }>(
    `select c.proxy_id, c.epoch, s.first_batch, s.last_sequence
     from audit_segments s join audit_chains c using (chain_id)
     where s.chain_id = $1 and s.indexed_at_ms is null order by s.first_batch limit 1`,
    [claim.chain_id],
  )
  if (segment === undefined) return undefined
  return {
    chainId: claim.chain_id,
    proxyId: segment.proxy_id,
    epoch: segment.epoch,
    firstBatch: segment.first_batch,
    lastSequence: segment.last_sequence,
    indexedSequence: claim.indexed_sequence,
  }
}

/** Age of the oldest stored segment that is not indexed yet; 0 where there is none. */
export async function readIndexLagMs({
  store,
  realm,
  clock,
}: Pick<AuditContext, 'store' | 'realm' | 'clock'>): Promise<number> {
  const [row] = await store.query<{ oldest: number | null }>(
    'select min(received_at_ms) as oldest from audit_segments where realm = $1 and indexed_at_ms is null',
    [realm],
  )
  const oldest = row?.oldest ?? undefined
  return oldest === undefined ? 0 : Math.max(0, Math.floor(clock.wallMs()) - oldest)
}
