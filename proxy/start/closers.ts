import type { Log } from '../../protocols/engine.ts'

/** What a part that was opened is closed with. */
export type Close = () => Promise<void> | void

export interface Closers {
  push(close: Close): void
  /** In the opposite order of opening; one that fails does not keep the others open. Idempotent. */
  closeAll(): Promise<void>
}

export function createClosers(log: Log): Closers {
  const closers: Close[] = []
  return {
    push: (close) => {
      closers.push(close)
    },
    async closeAll() {
      for (const close of closers.splice(0).reverse()) {
        try {
          await close()
        } catch (error) {
          log.error({ error: String(error) }, 'something did not close well')
        }
      }
    },
  }
}
