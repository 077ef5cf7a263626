/**
 * Verifies what the entries of one epoch tell: an activity only in an open session and never after its cut, one outcome
 * for it at most, one end for each session.
 */
import type { DamageKind, DamageList, Place } from './damage.ts'
import { decodeOutcomeMeta, type Entry } from './decode.ts'
import { RecordingVerifier } from './recording-verifier.ts'

export class StoryVerifier {
  readonly #chain: string
  readonly #damage: DamageList
  /** Open sessions, and whether each was cut. */
  readonly #sessions = new Map<string, { cut: boolean }>()
  /** Activities without an outcome, with their sessions. */
  readonly #unsettled = new Map<number, string>()
  /** Entries are missing: what refers to them cannot be judged. */
  #partial = false
  #stopped = false
  #first = true
  readonly #recordings = new RecordingVerifier()
  activities = 0

  constructor(chain: string, damage: DamageList) {
    this.#chain = chain
    this.#damage = damage
  }

  get sessionsOpen(): number {
    return this.#sessions.size
  }

  get outcomesMissing(): number {
    return this.#unsettled.size
  }

  /** Entries were lost before the next one. */
  lose(): void {
    this.#partial = true
  }

  entry(entry: Entry, place: Place): void {
    const add = (kind: DamageKind, detail: string): void =>
      this.#damage.add({ ...place, kind, detail })
    if (this.#stopped) add('order-wrong', 'entry after proxy-stopped')
    if ((entry.type === 'control-action') !== (this.#chain === 'control')) {
      add('order-wrong', `${entry.type} does not belong in chain ${this.#chain}`)
    }
    switch (entry.type) {
      case 'activity':
        this.#activity(entry, add)
        break
      case 'outcome':
        this.#outcome(entry, add)
        break
      case 'session-opened':
      case 'session-cut':
      case 'session-closed':
        this.#session(entry, add)
        break
      case 'recording':
      case 'recording-ended':
        this.#recordings.entry(entry, this.#partial, this.#sessions.has(entry.sessionId ?? ''), add)
        break
      case 'proxy-started':
        if (!this.#first && !this.#partial) add('epoch-wrong', 'proxy-started within an epoch')
        break
      case 'proxy-stopped':
        this.#stopped = true
        break
      case 'session-refused':
      case 'control-action':
        break
    }
    this.#first = false
  }

  #activity(entry: Entry, add: (kind: DamageKind, detail: string) => void): void {
    this.activities += 1
    const id = entry.sessionId ?? ''
    const session = this.#sessions.get(id)
    if (session === undefined) {
      if (!this.#partial) add('session-wrong', `activity in session ${id}, which is not open`)
    } else if (session.cut) {
      add('session-wrong', `activity in session ${id} after its cut`)
    }
    this.#unsettled.set(entry.sequence, id)
  }

  #outcome(entry: Entry, add: (kind: DamageKind, detail: string) => void): void {
    const session = this.#unsettled.get(entry.reference)
    if (session === undefined) {
      if (!this.#partial) {
        add('outcome-wrong', `no activity ${entry.reference} waits for an outcome`)
      }
    } else if (session !== (entry.sessionId ?? '')) {
      add('outcome-wrong', `activity ${entry.reference} belongs to session ${session}`)
    }
    this.#unsettled.delete(entry.reference)
    try {
      decodeOutcomeMeta(entry.meta)
    } catch (error) {
      add('unreadable', error instanceof Error ? error.message : String(error))
    }
  }

  #session(entry: Entry, add: (kind: DamageKind, detail: string) => void): void {
    const id = entry.sessionId
    if (id === undefined) {
      add('session-wrong', `${entry.type} of no session`)
      return
    }
    const session = this.#sessions.get(id)
    if (entry.type === 'session-opened') {
      if (session !== undefined) add('session-wrong', `session ${id} is opened twice`)
      this.#sessions.set(id, { cut: false })
      return
    }
    if (session === undefined) {
      if (!this.#partial) add('session-wrong', `${entry.type} of session ${id}, which is not open`)
      return
    }
    if (entry.type === 'session-closed') {
      this.#sessions.delete(id)
      const open = this.#recordings.close(id)
      if (open > 0 && !this.#partial) add('recording-wrong', `${open} recordings have no end`)
      return
    }
    if (session.cut) add('session-wrong', `session ${id} is cut twice`)
    session.cut = true
  }

  /** The next epoch says which sessions this one left open; `damaged`: it could not read all of it. */
  lost(
    sessions: readonly string[],
    damaged: boolean,
    add: (kind: DamageKind, detail: string) => void,
  ): void {
    if (this.#partial) return
    const named = new Set(sessions)
    for (const id of this.#sessions.keys()) {
      this.#recordings.close(id)
      if (!named.delete(id)) add('session-wrong', `session ${id} has no end and is not named lost`)
    }
    if (damaged) return
    for (const id of named) add('session-wrong', `session ${id} is named lost and was not open`)
  }
}
