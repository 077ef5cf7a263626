/** What the view knows of people's SSH: the authorities of their certificates, and the keys that they have registered. */
import type { FeedEvent } from '../../control/api/feed.ts'
import type { Log } from '../../protocols/engine.ts'
import {
  parseSshPublicKeyLine,
  sshFingerprint,
  sshPublicKeyLine,
  type SshPublicKey,
} from '../../protocols/kit/ssh-public-key.ts'

/** A public key that a person has registered. */
export interface RegisteredKey {
  readonly personId: string
  readonly personEmail: string
  readonly publicKey: SshPublicKey
  readonly addedAtMs: number
  readonly expiresAtMs: number
}

export interface SshView {
  /** Blobs. */
  readonly authorities: readonly Buffer[]
  key(fingerprint: string): RegisteredKey | undefined
  setAuthorities(lines: readonly string[]): void
  addKey(event: Extract<FeedEvent, { kind: 'ssh-key' }>): void
  removeKey(fingerprint: string): void
  clearKeys(): void
  /** The whole as events. */
  events(nowMs: number): FeedEvent[]
}

export function createSshView(log: Log): SshView {
  const keys = new Map<string, RegisteredKey>()
  let authorities: readonly Buffer[] = []

  /** What cannot be read counts for nothing, and keeps nothing else from being applied. */
  function read(line: string, what: string): SshPublicKey | undefined {
    try {
      return parseSshPublicKeyLine(line)
    } catch (error) {
      log.error({ error: String(error) }, `${what} of the feed cannot be read; left out`)
      return undefined
    }
  }

  return {
    get authorities() {
      return authorities
    },
    key: (fingerprint) => keys.get(fingerprint),
    setAuthorities(lines) {
      authorities = lines.flatMap((line) => read(line, 'an SSH authority')?.blob ?? [])
    },
    addKey({ kind: _kind, fingerprint, publicKey: line, ...facts }) {
      // Whatever was known under this name is not any more.
      keys.delete(fingerprint)
      const publicKey = read(line, 'an SSH key')
      if (publicKey === undefined) return
      if (sshFingerprint(publicKey.blob) === fingerprint) {
        keys.set(fingerprint, { ...facts, publicKey })
      } else {
        log.error({ fingerprint }, 'an SSH key of the feed has another fingerprint; left out')
      }
    },
    removeKey: (fingerprint) => void keys.delete(fingerprint),
    clearKeys: () => keys.clear(),
    events: (nowMs) => [
      { kind: 'ssh-authorities', people: authorities.map((blob) => sshPublicKeyLine(blob)) },
      ...[...keys]
        .filter(([, key]) => key.expiresAtMs >= nowMs)
        .map(([fingerprint, { publicKey, ...facts }]) => ({
          kind: 'ssh-key' as const,
          ...facts,
          fingerprint,
          publicKey: sshPublicKeyLine(publicKey.blob),
        })),
    ],
  }
}
