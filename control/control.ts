/** What every operation of control works with. Made once, in start-control.ts. */
import type { Clock } from '../protocols/kit/clock.ts'
import type { ControlChain } from './chain/append-action.ts'
import type { ControlKeys } from './keys/open-keys.ts'
import type { Store } from './store/store.ts'

/** The part of a structured logger that control uses. */
export interface ControlLog {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export interface ControlSettings {
  /** People's certificates: default and maximum. */
  readonly personCertificateMs: number
  /** From signing in to its end; certificates of a login end with it, or earlier. */
  readonly loginMs: number
  /** Proxies' client and server certificates. */
  readonly proxyCertificateMs: number
  readonly joinTokenMs: number
  /** From the making of a connect token to its use at the latest. */
  readonly connectTokenMs: number
  /** Tokens go this long after their end, at least 30 days. Default 90 days. */
  readonly tokenRetentionMs: number
  /** Events that are older are deleted; a proxy that was away for longer takes the whole state. */
  readonly feedRetentionMs: number
}

const dayMs = 86_400_000
export const defaultSettings: ControlSettings = {
  personCertificateMs: 8 * 3_600_000,
  loginMs: 8 * 3_600_000,
  proxyCertificateMs: 30 * dayMs,
  joinTokenMs: 15 * 60_000,
  connectTokenMs: 5 * 60_000,
  tokenRetentionMs: 90 * dayMs,
  feedRetentionMs: 7 * dayMs,
}

export interface Control {
  readonly realm: string
  /** Whether the realm is marked as a demo's. */
  readonly demo: boolean
  readonly state: Store
  readonly clock: Clock
  readonly keys: ControlKeys
  readonly chain: ControlChain
  readonly settings: ControlSettings
  readonly log: ControlLog
}

/** Who does something: a person, or a part of the system. */
export interface Actor {
  /** UUID of a person or proxy; '' for control itself. */
  readonly id: string
  /** A person's address, or words such as `proxy edge-1`. At most 254 characters. */
  readonly email: string
  readonly remoteAddress: string
  /** The API token that stood for the person; absent: they were there with their certificate. */
  readonly apiTokenId?: string
}

/** Whole milliseconds of the wall clock: what rows, tokens and answers hold. */
export function nowMs(clock: Clock): number {
  return Math.floor(clock.wallMs())
}
