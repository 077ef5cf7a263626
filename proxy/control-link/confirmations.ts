/** Questions to control that wait for their answer. Only silence and a lost link are an outage. */
import type { ToControl, ToProxy } from '../../control/api/feed.ts'
import type { Clock } from '../../protocols/kit/clock.ts'

export type ConfirmQuestion = Omit<Extract<ToControl, { kind: 'confirm' }>, 'kind' | 'requestId'>

export type Confirmation =
  | {
      readonly kind: 'confirmed'
      readonly token: string
      readonly position: number
      /** Whose the connect token was. */
      readonly redeemed?: Extract<ToProxy, { kind: 'confirmed' }>['redeemed']
    }
  | { readonly kind: 'denied'; readonly why: string; readonly position: number }
  | { readonly kind: 'unreachable'; readonly why: string }

type Answer = Extract<ToProxy, { kind: 'confirmed' | 'denied' }>

export interface Confirmations {
  /** Never rejects. */
  ask(question: ConfirmQuestion): Promise<Confirmation>
  answer(message: Answer): void
  /** When a question that still waits was asked, monotonic ms. */
  askedAtMs(requestId: number): number | undefined
  /** The link is gone: nothing that waits will be answered. */
  lost(why: string): void
  readonly waiting: number
}

export interface ConfirmationsOptions {
  readonly clock: Clock
  readonly confirmMs: number
  /** Sends a message; says why it cannot. A `refused` link is a denial by control, not an outage. */
  readonly send: (message: ToControl) => 'sent' | 'away' | 'refused'
  /** Told how long an answer took, ms. */
  readonly onAnswered?: (durationMs: number) => void
}

export function createConfirmations(options: ConfirmationsOptions): Confirmations {
  const { clock, confirmMs, send } = options
  const waiting = new Map<
    number,
    { readonly askedAtMs: number; readonly settle: (confirmation: Confirmation) => void }
  >()
  let lastId = 0
  return {
    ask: (question) =>
      new Promise((resolve) => {
        const requestId = ++lastId
        const askedAtMs = clock.monotonicMs()
        const timer = clock.startTimer(confirmMs, () =>
          settle({ kind: 'unreachable', why: `no answer within ${confirmMs} ms` }),
        )
        const settle = (confirmation: Confirmation): void => {
          timer.cancel()
          waiting.delete(requestId)
          if (confirmation.kind !== 'unreachable') {
            options.onAnswered?.(clock.monotonicMs() - askedAtMs)
          }
          resolve(confirmation)
        }
        waiting.set(requestId, { askedAtMs, settle })
        const sent = send({ kind: 'confirm', requestId, ...question })
        if (sent === 'away') settle({ kind: 'unreachable', why: 'the link to control is down' })
        if (sent === 'refused') {
          settle({ kind: 'denied', why: 'control refuses this proxy', position: 0 })
        }
      }),
    answer(message) {
      const settle = waiting.get(message.requestId)?.settle
      if (message.kind === 'confirmed') {
        const { token, position, redeemed } = message
        settle?.({ kind: 'confirmed', token, position, redeemed })
      } else {
        settle?.({ kind: 'denied', why: message.why, position: message.position })
      }
    },
    askedAtMs: (requestId) => waiting.get(requestId)?.askedAtMs,
    lost(why) {
      for (const { settle } of [...waiting.values()]) settle({ kind: 'unreachable', why })
    },
    get waiting() {
      return waiting.size
    },
  }
}
