import { nowMs, type Control } from '../control.ts'
import type { FeedHub } from '../feed/feed-hub.ts'
import type { Stores } from '../store/store.ts'

export type Checks = Record<string, { ok: boolean; detail: string }>

const probeMs = 2_000
/** Heartbeats come each second; a feed this old is one that proxies no longer trust. */
const feedAgeMsMax = 5_000

/** Whether this process can decide: its stores answer in time, and its feed is fresh. */
export async function readChecks(parts: {
  control: Pick<Control, 'clock'>
  stores: Pick<Stores, 'probe'>
  hub: Pick<FeedHub, 'completeAtMs' | 'position'>
  isStopping: () => boolean
}): Promise<Checks> {
  const { control, stores, hub, isStopping } = parts
  const ageMs = hub.completeAtMs === undefined ? Infinity : nowMs(control.clock) - hub.completeAtMs
  return {
    store: await probe(control, stores),
    feed: {
      ok: ageMs <= feedAgeMsMax,
      detail: `read to position ${hub.position}, ${Math.round(ageMs)} ms ago`,
    },
    stopping: { ok: !isStopping(), detail: isStopping() ? 'stopping' : 'no' },
  }
}

/** One look at a time, shared by all who ask meanwhile: strangers may ask, and the store has better to do. */
export function shareChecks(read: () => Promise<Checks>): () => Promise<Checks> {
  let pending: Promise<Checks> | undefined
  return () => {
    pending ??= read().finally(() => (pending = undefined))
    return pending
  }
}

function probe(
  { clock }: Pick<Control, 'clock'>,
  stores: Pick<Stores, 'probe'>,
): Promise<Checks[string]> {
  return new Promise((resolve) => {
    const timer = clock.startTimer(probeMs, () =>
      resolve({ ok: false, detail: `no answer within ${probeMs} ms` }),
    )
    stores.probe().then(
      () => {
        timer.cancel()
        resolve({ ok: true, detail: 'answers' })
      },
      (error: unknown) => {
        timer.cancel()
        resolve({ ok: false, detail: String(error) })
      },
    )
  })
}
