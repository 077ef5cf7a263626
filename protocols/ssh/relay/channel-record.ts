import { newOutcome, type Outcome, type OutcomeStatus } from '../../activity.ts'
import type { ActivityId } from '../../session.ts'
import { reportChannel, type ChannelActivity } from '../observe/sources.ts'
import type { Relayed } from '../relay.ts'

/** One thing done through a channel, from its record to its one outcome. */
export class ChannelRecord {
  readonly activity: ActivityId
  /** To be filled until it is settled. */
  readonly outcome: Outcome = newOutcome()
  readonly #relayed: Relayed
  readonly #startedMs: number
  #isSettled = false

  constructor(relayed: Relayed, activity: ChannelActivity) {
    const { session, host } = relayed
    this.#relayed = relayed
    this.#startedMs = host.clock.monotonicMs()
    this.activity = reportChannel(session, activity, host.limits.inlineTextBytesMax)
  }

  get isSettled(): boolean {
    return this.#isSettled
  }

  /** What was wanted is not allowed, and nothing of it happened. */
  refuse(): void {
    this.outcome.errorCode = 'not-allowed'
    this.settle('skipped')
  }

  /** `carried` are the bytes where somebody else counts them. Once: what comes later counts for nothing. */
  settle(
    status: OutcomeStatus,
    carried: { readonly bytesUp: number; readonly bytesDown: number } = this.outcome,
  ): void {
    if (this.#isSettled) return
    this.#isSettled = true
    const { session, host } = this.#relayed
    const { outcome } = this
    outcome.status = status
    outcome.bytesUp = carried.bytesUp
    outcome.bytesDown = carried.bytesDown
    outcome.durationUs = Math.round((host.clock.monotonicMs() - this.#startedMs) * 1000)
    session.settle(this.activity, outcome)
  }
}
