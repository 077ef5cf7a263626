import type { Timer } from '../../kit/clock.ts'
import { SallyportError } from '../../kit/errors.ts'
import { Roster } from '../../kit/roster.ts'
import type { Host } from '../../engine.ts'
import type { Exchange } from '../wire.ts'

/** What is watched, and who is told. */
export interface Watched {
  /** More than when the last exchange ended: of the head of the next. */
  readonly bytesRead: () => number
  readonly isAdmitted: () => boolean
  /** Nothing is open, and it has had its time: amid the head of a request (`isPartial`), or before one. */
  readonly end: (isPartial: boolean) => void
  /** Its client takes nothing of this exchange, which is given up already. */
  readonly stalled: (exchange: Exchange, why: SallyportError) => void
}

/** What an exchange was seen to have waiting. */
interface Seen {
  readonly exchange: Exchange
  taken: number
  sinceMs: number
}

/**
 * Ends what keeps its place for nothing: the head of a request that does not come to its end, no request at all, an answer or a WebSocket
 * that its client takes nothing of. Looks once in `requestHeadMs`, so that each has between its limit and once that more.
 */
export function watchConnection(
  { clock, limits }: Pick<Host, 'clock' | 'limits'>,
  watched: Watched,
): { begin(exchange: Exchange): void; stop(): void } {
  const open = new Roster<Seen>()
  let idleSinceMs = clock.monotonicMs()
  let idleBytes = watched.bytesRead()
  let partial = false
  let timer: Timer

  /** False: it was ended. */
  const lookAtNothing = (): boolean => {
    const isPartial = watched.bytesRead() > idleBytes
    if (isPartial && partial) {
      watched.end(true)
      return false
    }
    partial = isPartial
    const idleMs = watched.isAdmitted() ? limits.connectionIdleMs : limits.unadmittedMs
    if (clock.monotonicMs() - idleSinceMs < idleMs) return true
    watched.end(false)
    return false
  }
  const lookAtAnswers = (): void => {
    const nowMs = clock.monotonicMs()
    const sendMs = watched.isAdmitted() ? limits.sendMs : limits.unadmittedMs
    for (const seen of open.items()) {
      const { exchange } = seen
      const { bytesTaken } = exchange
      if (exchange.bytesWaiting === 0 || bytesTaken !== seen.taken) {
        seen.taken = bytesTaken
        seen.sinceMs = nowMs
      } else if (nowMs - seen.sinceMs >= sendMs) {
        const why = new SallyportError(
          'client-stalled',
          `the client took nothing of what waits for it in ${sendMs} ms`,
        )
        exchange.giveUp(why)
        watched.stalled(exchange, why)
      }
    }
  }
  const look = (): void => {
    if (open.size > 0) lookAtAnswers()
    else if (!lookAtNothing()) return
    timer = clock.startTimer(limits.requestHeadMs, look)
  }
  timer = clock.startTimer(limits.requestHeadMs, look)
  return {
    begin(exchange) {
      const place = open.add({ exchange, taken: -1, sinceMs: 0 })
      partial = false
      exchange.onClose(() => {
        open.remove(place)
        idleSinceMs = clock.monotonicMs()
        idleBytes = watched.bytesRead()
      })
    },
    stop: () => timer.cancel(),
  }
}
