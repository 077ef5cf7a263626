/**
 * Who is known on a connection before a resource is named, for as long as it lives. An identity is an object of this gate: it counts as
 * evidence while it is here, and nobody else can make one.
 */
import type { Identity as KnownPerson } from '../../protocols/engine.ts'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Cut } from '../../protocols/session.ts'
import type { ControlClock } from '../control-link/control-clock.ts'
import type { ControlView } from '../grants/control-view.ts'
import { revokedError, type Identity } from './identify.ts'

export interface Identities {
  /** The identity's signals abort with a `Cut` as soon as what it rests on is revoked, or ends. Throws if that has happened. */
  make(facts: Identity): KnownPerson
  /** Throws `evidence-invalid` for what this gate did not make, or that was disposed or revoked, and `evidence-expired`. */
  factsOf(identity: KnownPerson): Identity
  /** The wall clock jumped: ends may come nearer by it, never go further away. */
  clockJumped(): void
  readonly size: number
}

export interface IdentitiesOptions {
  readonly realm: string
  readonly view: ControlView
  readonly clock: Clock
  readonly controlClock: Pick<ControlClock, 'leftMs'>
}

interface Held {
  readonly facts: Identity
  readonly revoked: AbortController
  readonly expired: AbortController
  /** Monotonic ms. */
  endMs: number
  timer: Timer | undefined
}

/** Timers take no more; it is set again when it fires. */
const timerMsMax = 86_400_000

export function createIdentities(options: IdentitiesOptions): Identities {
  const { realm, view, clock, controlClock } = options
  const held = new Map<KnownPerson, Held>()

  function cut(
    controller: AbortController,
    orderedAtMs: number,
    error: SallyportError,
    reason: Cut['reason'],
  ): void {
    if (controller.signal.aborted) return
    const { clientMessage: message, hint = '' } = error
    const order: Cut = { reason, orderedAtMs, message, hint }
    controller.abort(order)
  }

  /** Looks at one again: whether it is revoked, and whether its time is over. */
  function look(one: Held, orderedAtMs = clock.wallMs()): void {
    const { facts, revoked, expired } = one
    one.timer?.cancel()
    const objection = view.certificateObjection(facts)
    if (objection !== undefined) {
      cut(revoked, orderedAtMs, revokedError(objection, facts), objection)
      return
    }
    const leftMs = one.endMs - clock.monotonicMs()
    if (leftMs <= 0) cut(expired, clock.wallMs(), expiredError(facts), 'certificate-revoked')
    else if (leftMs !== Infinity) {
      one.timer = clock.startTimer(Math.min(leftMs, timerMsMax), () => look(one))
    }
  }

  const endOf = ({ expiresAtMs }: Identity): number =>
    expiresAtMs === undefined ? Infinity : clock.monotonicMs() + controlClock.leftMs(expiresAtMs)

  view.onChange((change) => {
    switch (change.kind) {
      case 'person-revoked':
      case 'certificate-revoked':
      case 'ssh-key-removed':
        for (const one of [...held.values()]) look(one, change.orderedAtMs)
        return
      case 'person-restored':
      case 'ssh-key':
      case 'resynced':
        for (const one of [...held.values()]) look(one)
        return
      case 'grant':
      case 'grant-revoked':
      case 'resource':
      case 'resource-removed':
      case 'people-authorities':
      case 'ssh-authorities':
      case 'session-cut':
        return
    }
  })

  return {
    make(facts) {
      const [revoked, expired] = [new AbortController(), new AbortController()]
      const one: Held = { facts, revoked, expired, endMs: endOf(facts), timer: undefined }
      look(one)
      if (revoked.signal.aborted || expired.signal.aborted) throw errorOf(one)
      const identity: KnownPerson = Object.freeze({
        realm,
        personId: facts.personId,
        personEmail: facts.email,
        signal: revoked.signal,
        expiry: expired.signal,
        [Symbol.dispose]() {
          one.timer?.cancel()
          held.delete(identity)
        },
      })
      held.set(identity, one)
      return identity
    },
    factsOf(identity) {
      const one = held.get(identity)
      if (one === undefined) {
        throw new SallyportError('evidence-invalid', 'an identity that this gate does not know', {
          clientMessage: 'who you are is not known here any more',
          hint: 'connect again',
        })
      }
      // Its timer may be late: nothing begins past the end.
      if (clock.monotonicMs() >= one.endMs || controlClockIsPast(one.facts)) throw errorOf(one)
      if (one.revoked.signal.aborted || one.expired.signal.aborted) throw errorOf(one)
      return one.facts
    },
    clockJumped() {
      for (const one of [...held.values()]) {
        one.endMs = Math.min(one.endMs, endOf(one.facts))
        look(one)
      }
    },
    get size() {
      return held.size
    },
  }

  function controlClockIsPast({ expiresAtMs }: Identity): boolean {
    return expiresAtMs !== undefined && controlClock.leftMs(expiresAtMs) <= 0
  }

  function errorOf({ facts }: Held): SallyportError {
    const objection = view.certificateObjection(facts)
    return objection === undefined ? expiredError(facts) : revokedError(objection, facts)
  }
}

function expiredError({ kind, serial }: Identity): SallyportError {
  const what = kind === 'key' ? 'SSH key' : kind === 'login' ? 'sign-in' : 'certificate'
  return new SallyportError('evidence-expired', `${kind} ${serial} has ended`, {
    clientMessage: `the time of your ${what} is over`,
    hint: 'sign in again: sally login',
  })
}
