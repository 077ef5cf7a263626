/**
 * Applies what control says, strictly in order, and answers `applied` only for what is on disk. Confirmations pass by
 * the queue: whether the feed has got that far is for the gate to wait for.
 */
import type { FeedEvent, ToControl, ToProxy } from '../../control/api/feed.ts'
import type { Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { ControlView } from '../grants/control-view.ts'
import type { Freshness } from '../grants/freshness.ts'
import type { StateJournal } from '../grants/state-journal.ts'
import type { Confirmations } from './confirmations.ts'
import type { ControlClock } from './control-clock.ts'

/** Messages that wait to be applied; a control that sends more than we can take is disconnected. */
const queueMax = 10_000
/** Events of one resync. */
const resyncEventsMax = 2_000_000

type Ordered = Extract<ToProxy, { kind: 'resync' | 'events' | 'heartbeat' }>

export interface FeedReader {
  /** Takes one message of the present connection. Throws if there are too many. */
  take(message: ToProxy): void
  /** The connection is gone: what waits of it is dropped, and so is half a resync. */
  restart(): void
  /** Resolves when nothing is being applied or written: then the view's position is where to read on. */
  idle(): Promise<void>
}

export interface FeedReaderOptions {
  readonly proxyId: string
  readonly view: ControlView
  readonly journal: StateJournal
  readonly freshness: Freshness
  readonly confirmations: Confirmations
  readonly clock: Clock
  readonly controlClock: ControlClock
  readonly send: (message: ToControl) => void
  /** Something arrived that must not have: the connection is to be ended. */
  readonly onViolation: (why: string) => void
  readonly log: Log
}

export function createFeedReader(options: FeedReaderOptions): FeedReader {
  const { proxyId, view, journal, freshness, confirmations, clock, controlClock } = options
  const { send, log } = options
  const queue: { message: Ordered; connection: number }[] = []
  let connection = 0
  let resync: FeedEvent[] = []
  let working: Promise<void> = Promise.resolve()
  let busy = false
  const writing = new Set<Promise<void>>()
  /** The last question what time it is; one at a time. */
  let timeAsked = { requestId: 0, atMs: 0, isAnswered: true }

  function keep(write: Promise<void>, position: number): void {
    const mine = connection
    // `applied` waits for the disk, the next message does not.
    const done = write
      .then(
        () => {
          if (mine === connection) send({ kind: 'applied', position })
        },
        () => undefined, // the journal has logged it; control is simply not told
      )
      .finally(() => writing.delete(done))
    writing.add(done)
  }

  async function apply(message: Ordered): Promise<void> {
    switch (message.kind) {
      case 'heartbeat':
        return freshness.renew(message.lease)
      case 'events':
        // Here already. Applying old events over newer ones would undo these.
        if (message.position <= view.position) return
        await view.apply(message.position, message.events)
        return keep(journal.append(message.position, message.events), message.position)
      case 'resync': {
        if (resync.length + message.events.length > resyncEventsMax)
          throw new Error('resync too long')
        resync.push(...message.events)
        if (message.more) return
        const events = resync
        resync = []
        await view.replace(message.position, events)
        log.info({ position: message.position, events: events.length }, 'took the whole state')
        return keep(journal.rewrite(), message.position)
      }
    }
  }

  async function work(): Promise<void> {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      // The rest of a connection that went wrong must not be applied over the hole.
      if (next.connection !== connection) continue
      try {
        await apply(next.message)
      } catch (error) {
        log.error({ error: String(error), kind: next.message.kind }, 'a message of the feed failed')
        if (next.connection === connection) options.onViolation(String(error))
      }
    }
    busy = false
  }

  function askTime(): void {
    if (!timeAsked.isAnswered) return
    const requestId = timeAsked.requestId + 1
    timeAsked = { requestId, atMs: clock.monotonicMs(), isAnswered: false }
    send({ kind: 'time', requestId })
  }

  /** When it was asked what this answers, monotonic ms; undefined of what nobody asked for, or of a link of before. */
  function askedAtMs(message: ToProxy): number | undefined {
    if (message.kind === 'confirmed' || message.kind === 'denied') {
      return confirmations.askedAtMs(message.requestId)
    }
    if (message.kind !== 'time' || timeAsked.isAnswered) return undefined
    if (message.requestId !== timeAsked.requestId) return undefined
    timeAsked.isAnswered = true
    return timeAsked.atMs
  }

  function enqueue(message: Ordered): void {
    if (queue.length >= queueMax) throw new Error('control sends faster than this proxy applies')
    queue.push({ message, connection })
    if (busy) return
    busy = true
    working = work()
  }

  return {
    take(message) {
      // Another control may have another clock; while there is none, the last one's still counts.
      if (message.kind === 'welcome') controlClock.reset()
      if (message.kind !== 'resync' && message.kind !== 'events') {
        controlClock.sample(message.controlTimeMs, askedAtMs(message))
      }
      if (message.kind === 'welcome' || message.kind === 'heartbeat') askTime()
      switch (message.kind) {
        case 'welcome':
          if (message.proxyId !== proxyId) throw new Error('control took us for another proxy')
          return
        case 'confirmed':
        case 'denied':
          return confirmations.answer(message)
        case 'time':
          return
        default:
          return enqueue(message)
      }
    },
    restart() {
      connection += 1
      resync = []
      timeAsked.isAnswered = true
    },
    async idle() {
      await working
      await Promise.all(writing)
    },
  }
}
