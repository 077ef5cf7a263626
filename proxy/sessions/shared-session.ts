/** One session and the leases of it: what each lease has for itself, and when nobody has one any more. */
import type { Writable } from 'node:stream'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import type { Level, Session } from '../../protocols/session.ts'
import type { LiveSession } from './live-session.ts'

export interface SharedSession {
  readonly session: LiveSession
  /** Whether a lease of it may be given out: it is neither cut nor closing. */
  readonly isLive: boolean
  readonly leases: number
  /** Throws what a cut means. */
  lease(): Session
  /** Ends it if nobody has a lease. */
  endUnused(): void
}

export interface SharedSessionOptions {
  readonly clock: Clock
  /** How long it may be without leases, ms. */
  readonly unusedMs: () => number
  /** As `Session.levelCovering`. */
  readonly levelCovering: (session: LiveSession, need: Level) => Level | undefined
  /** It is cut or ended: no lease of it is given out any more. */
  readonly onOver: () => void
  readonly onFailure: (error: unknown) => void
}

interface Held {
  notify: ((line: string) => void) | undefined
  onDrain: ((target: Writable | undefined) => void) | undefined
}

export function createSharedSession(
  session: LiveSession,
  { clock, unusedMs, levelCovering, onOver, onFailure }: SharedSessionOptions,
): SharedSession {
  const held = new Set<Held>()
  let isOpened = false
  let unused: Timer | undefined

  session.onDrain((target) => {
    for (const { onDrain } of [...held]) onDrain?.(target)
  })
  const show = (line: string): void => {
    for (const { notify } of [...held]) notify?.(line)
  }
  const over = (): void => {
    unused?.cancel()
    onOver()
  }
  const cut = (): void => {
    over()
    // With nobody to let go of it, it need not wait for them.
    if (held.size === 0) end().catch(onFailure)
  }

  function end(): Promise<void> {
    over()
    session.end('client-closed')
    return session[Symbol.asyncDispose]()
  }

  /** Resolves when what it stood for is over too, if it was the last of a session that is. */
  function giveBack(one: Held): Promise<void> {
    held.delete(one)
    if (held.size > 0) return Promise.resolve()
    // Whoever cut it waits for the engine to let go.
    if (!session.isLive) return end()
    unused?.cancel()
    unused = clock.startTimer(unusedMs(), () => void end().catch(onFailure))
    return Promise.resolve()
  }

  function lease(): Session {
    session.throwIfCut()
    unused?.cancel()
    const own: Held = { notify: undefined, onDrain: undefined }
    held.add(own)
    let givenBack: Promise<void> | undefined
    const { labels, upstream, ssh, http, signal } = session
    return {
      get isCut() {
        return session.isCut
      },
      get isOver() {
        return session.isOver
      },
      get expiresAtMs() {
        return session.expiresAtMs
      },
      get warning() {
        return session.warning
      },
      ...{ labels, upstream, signal },
      ...(ssh === undefined ? {} : { ssh }),
      ...(http === undefined ? {} : { http }),
      connect: () => session.connect(),
      borrow: (of) => session.borrow(of),
      certify: (publicKey, of) => session.certify(publicKey, of),
      attach: (downstream) => session.attach(downstream),
      opened(notify) {
        if (isOpened) session.throwIfCut()
        else session.opened(show)
        isOpened = true
        own.notify = notify
      },
      report: (activity) => session.report(activity),
      settle: (id, outcome) => session.settle(id, outcome),
      forward: (target, chunk) => session.forward(target, chunk),
      forwardCall: (run) => session.forwardCall(run),
      onDrain(listener) {
        own.onDrain = listener
      },
      record: (kind, header) => session.record(kind, header),
      countDownstream: (bytes) => session.countDownstream(bytes),
      spill: () => session.spill(),
      keep: (key, make, by) => session.keep(key, make, by),
      assertion: () => session.assertion(),
      onCancel: (cancel) => session.onCancel(cancel),
      levelCovering: (need) => levelCovering(session, need),
      // Why this lease ended says nothing of the others.
      end() {},
      violated: (error) => session.violated(error),
      [Symbol.asyncDispose]: () => (givenBack ??= giveBack(own)),
    }
  }

  session.signal.addEventListener('abort', cut, { once: true })
  return {
    session,
    get isLive() {
      return session.isLive
    },
    get leases() {
      return held.size
    },
    lease,
    endUnused() {
      if (held.size === 0) end().catch(onFailure)
    },
  }
}
