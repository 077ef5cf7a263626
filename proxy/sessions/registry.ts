/** Every live session of this proxy, so that whatever ends sessions finds all of them. */
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import type { Spool } from '../audit/spool-types.ts'
import type { LiveSession } from './live-session.ts'
import type { CutOrder } from './session-parts.ts'

export interface Registry {
  readonly size: number
  /** From here on the session is found by cuts. Throws `limit-reached`. */
  add(session: LiveSession): void
  remove(session: LiveSession): void
  /** Throws `limit-reached` if one more session of this person (or at all) would be too many. */
  requireRoom(personId: string): void
  get(sessionId: string): LiveSession | undefined
  all(): IterableIterator<LiveSession>
  ofGrant(grantId: string): Iterable<LiveSession>
  ofPerson(personId: string): Iterable<LiveSession>
  /** Cuts sessions with one commit of the audit. Returns how many were not cut already. */
  cut(sessions: Iterable<LiveSession>, order: CutOrder): number
  /** Resolves once no session is left. */
  empty(): Promise<void>
}

export interface RegistryOptions {
  readonly spool: Pick<Spool, 'commitNow'>
  readonly limits: Pick<Limits, 'sessionsMax' | 'sessionsPerPersonMax'>
}

export function createRegistry({ spool, limits }: RegistryOptions): Registry {
  const sessions = new Map<string, LiveSession>()
  const byGrant = new Map<string, Set<LiveSession>>()
  const byPerson = new Map<string, Set<LiveSession>>()
  let waiting: (() => void)[] = []

  function requireRoom(personId: string): void {
    const own = byPerson.get(personId)?.size ?? 0
    if (own >= limits.sessionsPerPersonMax) {
      throw new SallyportError('limit-reached', `${own} sessions of person ${personId}`, {
        clientMessage: `you have ${own} sessions open here, which is the limit`,
        hint: 'close some of them',
      })
    }
    if (sessions.size >= limits.sessionsMax) {
      throw new SallyportError('limit-reached', `${sessions.size} sessions`, {
        clientMessage: 'this proxy has as many sessions as it can take',
        hint: 'try again later; tell the operator of the proxy if it lasts',
      })
    }
  }

  return {
    get size() {
      return sessions.size
    },
    requireRoom,
    add(session) {
      const { sessionId, grantId, personId } = session.labels
      requireRoom(personId)
      sessions.set(sessionId, session)
      addTo(byGrant, grantId, session)
      addTo(byPerson, personId, session)
    },
    remove(session) {
      const { sessionId, grantId, personId } = session.labels
      sessions.delete(sessionId)
      removeFrom(byGrant, grantId, session)
      removeFrom(byPerson, personId, session)
      if (sessions.size > 0) return
      for (const resolve of waiting) resolve()
      waiting = []
    },
    get: (sessionId) => sessions.get(sessionId),
    all: () => sessions.values(),
    ofGrant: (grantId) => byGrant.get(grantId) ?? [],
    ofPerson: (personId) => byPerson.get(personId) ?? [],
    cut(chosen, order) {
      // First nothing passes any more, in all of them; then one commit; then the farewells.
      const begun = [...chosen].filter((session) => session.beginCut(order))
      if (begun.length === 0) return 0
      const announce = (): void => {
        for (const session of begun) session.announceCut()
      }
      // A cut that cannot be recorded still happens; the spool's failure is told elsewhere.
      spool.commitNow('synced').catch(() => undefined)
      spool.commitNow('written').then(announce, announce)
      return begun.length
    },
    empty: () =>
      sessions.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve)),
  }
}

function addTo(index: Map<string, Set<LiveSession>>, key: string, session: LiveSession): void {
  const set = index.get(key)
  if (set === undefined) index.set(key, new Set([session]))
  else set.add(session)
}

function removeFrom(index: Map<string, Set<LiveSession>>, key: string, session: LiveSession): void {
  const set = index.get(key)
  set?.delete(session)
  if (set?.size === 0) index.delete(key)
}
