import type { SessionLabels } from '../../protocols/session.ts'
import { createKept, type Kept } from './kept.ts'

/** What engines keep for a person at a resource, as long as they have any session there. */
export interface KeptByPeople {
  keep<T extends Disposable>(session: Of, key: symbol, make: () => T): T
  /** The session is closed; what nobody keeps any more is disposed. */
  letGo(session: Of): void
}

interface Of {
  readonly labels: Pick<SessionLabels, 'sessionId' | 'personId' | 'resource'>
}

export function createKeptByPeople(): KeptByPeople {
  const all = new Map<string, { readonly kept: Kept; readonly sessions: Set<string> }>()
  const nameOf = ({ labels }: Of): string => `${labels.personId} ${labels.resource}`
  return {
    keep(session, key, make) {
      const name = nameOf(session)
      const found = all.get(name) ?? { kept: createKept(), sessions: new Set() }
      all.set(name, found)
      found.sessions.add(session.labels.sessionId)
      return found.kept.keep(key, make)
    },
    letGo(session) {
      const name = nameOf(session)
      const found = all.get(name)
      if (found === undefined) return
      found.sessions.delete(session.labels.sessionId)
      if (found.sessions.size > 0) return
      all.delete(name)
      found.kept.dispose()
    },
  }
}
