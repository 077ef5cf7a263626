import type { SessionTools } from './session-parts.ts'

/** The keys by which clients cancel what runs upstream in one session. */
export interface SessionCancels {
  /** As `Session.onCancel`. */
  keep(cancel: () => void): Buffer
  forget(): void
}

/** What `isLive` denies is cancelled no more. */
export function createSessionCancels(
  { keepCancel, forgetCancel }: Pick<SessionTools, 'keepCancel' | 'forgetCancel'>,
  isLive: () => boolean,
): SessionCancels {
  const keys: Buffer[] = []
  return {
    keep(cancel) {
      const key = keepCancel(() => {
        if (isLive()) cancel()
      })
      keys.push(key)
      return key
    },
    forget() {
      for (const key of keys) forgetCancel(key)
    },
  }
}
