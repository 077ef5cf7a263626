import type { Secret } from '../../protocols/kit/secret.ts'

/** Where secrets of resources are kept. Read at the moment of use; nothing is remembered. */
export interface SecretStore {
  /** The part of a reference before its colon. */
  readonly name: string
  /** Rejects with `secret-unavailable`. */
  fetch(path: string, signal: AbortSignal): Promise<Secret<string>>
}
