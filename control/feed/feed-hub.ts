/**
 * Reads the feed once for all connections of this process. The doorbell says when; a poll each second stands behind it. Each
 * successful read is also what leases and heartbeats rest on: it knows that nothing was committed up to that moment which
 * was not handed on.
 */
import type { Timer } from '../../protocols/kit/clock.ts'
import { nowMs, type Control } from '../control.ts'
import { feedChannel } from './append-feed.ts'
import { isReadable, readFeed, readFeedBounds, type FeedRow } from './read-feed.ts'

/** What a connection is told. Called in order, never at the same time. */
export interface FeedFollower {
  /** Rows after `after` and up to `position`, all groups; may be empty. */
  rows(rows: readonly FeedRow[], position: number): void
  /** The feed was complete up to `position` at `atMs` (control's clock). */
  complete(position: number, atMs: number): void
  /** The feed is not the one that was followed: what came so far may have a gap. */
  lost(): void
}

export interface FeedHub {
  /** The last position handed on. */
  readonly position: number
  /** When the feed was last read to its head; undefined before the first time. */
  readonly completeAtMs: number | undefined
  /** Starts with rows after the hub's present position. Returns how to stop. */
  follow(follower: FeedFollower): () => void
  /** Reads as soon as it can. */
  ring(): void
  close(): Promise<void>
}

export interface FeedHubOptions extends Pick<Control, 'realm' | 'state' | 'clock' | 'log'> {
  /** Between two polls, and so between two heartbeats. Default 1 s. */
  readonly pollMs?: number
}

const rowsPerRead = 1_000

export async function openFeedHub(options: FeedHubOptions): Promise<FeedHub> {
  const { realm, state, clock, log, pollMs = 1_000 } = options
  const followers = new Set<FeedFollower>()
  let { position } = await readFeedBounds(state, realm)
  let completeAtMs: number | undefined
  let reading: Promise<void> | undefined
  let rung = false
  let failing = false
  let closed = false
  let timer: Timer | undefined

  /** One that cannot take what it is told must not keep it from the others: it has a gap now, and they have not. */
  const tell = (say: (follower: FeedFollower) => void): void => {
    for (const follower of [...followers]) {
      try {
        say(follower)
      } catch (error) {
        log.error({ error: String(error) }, 'a follower of the feed failed; it is let go')
        followers.delete(follower)
        follower.lost()
      }
    }
  }

  /** Reads to the head. Returns when that reading began, which is what it is complete for. */
  const readToHead = async (): Promise<number> => {
    for (;;) {
      const startedAtMs = nowMs(clock)
      const rows = await readFeed(state, realm, position, rowsPerRead)
      const last = rows.at(-1)
      if (last !== undefined) {
        position = last.position
        tell((follower) => follower.rows(rows, position))
      }
      if (rows.length < rowsPerRead) return startedAtMs
    }
  }

  /** After an outage the database may be a restored one, or a younger than our position. */
  const lookAgain = async (): Promise<void> => {
    const bounds = await readFeedBounds(state, realm)
    if (isReadable(position, bounds)) return
    log.warn({ at: position, ...bounds }, 'the feed is another than before; proxies connect again')
    position = bounds.position
    tell((follower) => follower.lost())
  }

  const read = async (beat: boolean): Promise<void> => {
    try {
      if (failing) await lookAgain()
      const atMs = await readToHead()
      completeAtMs = atMs
      if (beat) tell((follower) => follower.complete(position, atMs))
      if (failing) log.info({}, 'the feed can be read again')
      failing = false
    } catch (error) {
      // No heartbeat and no lease: the proxies see their view grow old, as it does.
      if (!failing) log.error({ error: String(error) }, 'the feed cannot be read')
      failing = true
    }
  }

  let beatDue = false
  const ring = (): void => {
    rung = true
    if (reading !== undefined || closed) return
    rung = false
    const beat = beatDue
    beatDue = false
    // One at a time; what rings meanwhile is read for once more.
    reading = read(beat).finally(() => {
      reading = undefined
      if (rung && !closed) ring()
    })
  }
  const poll = (): void => {
    beatDue = true
    ring()
    timer = clock.startTimer(pollMs, poll)
  }

  const unlisten = await state.listen(feedChannel, ring)
  poll()
  return {
    get position() {
      return position
    },
    get completeAtMs() {
      return completeAtMs
    },
    follow(follower) {
      followers.add(follower)
      return () => followers.delete(follower)
    },
    ring,
    async close() {
      closed = true
      timer?.cancel()
      await reading
      await unlisten()
    },
  }
}
