/**
 * The form of the audit that crosses processes: entries in batches, batches in chains.
 *
 *     batch   magic "SPB1" | total length u32 | epoch 16 | batch number u64 | first sequence u64
 *             | entry count u32 | committed at u64 (Unix µs) | previous link 32 | entries | link 32
 *     entry   type u8 | flags u8 | session 16 | at u64 (Unix µs) | reference u64
 *             | meta length u32 | payload length u32 | meta | payload
 *
 * All integers are big-endian. A payload is `salt 16 | tagged fields` and may be withheld (deleted by law, or
 * not for this reader): then flag `withheld` is set and the payload is its 32-byte commitment.
 *
 *     commitment = SHA-256(payload)
 *     link       = SHA-256(batch header with zero as its total length, up to and with the previous link
 *                          | for each entry: its fixed part (flags without `withheld`; payload length 32 if it has
 *                            a payload, else 0) and meta, then its commitment if it has a payload)
 *
 * Total length, `withheld` and payload lengths are normalised, so that the same link comes out of both forms;
 * a reader checks all three against each other, so none can be changed unseen. A payload is never empty (it
 * has its salt), so a payload length of 0 means that there is none.
 *
 * Batches and sequences count from 1 in each epoch. The chain of an epoch starts from
 * `SHA-256("sallyport-epoch" | epoch)` as its first batch's previous link; the first entry of a proxy's epoch
 * (`proxy-started`) names the head of the epoch before.
 */

export const batchMagic = 0x53504231
export const batchHeaderBytes = 4 + 4 + 16 + 8 + 8 + 4 + 8 + 32
export const linkBytes = 32
/** Number of the first batch of an epoch, and of its first entry: 0 stands for none. */
export const firstBatchNumber = 1
export const firstEntrySequence = 1
export const saltBytes = 16
export const entryFixedBytes = 1 + 1 + 16 + 8 + 8 + 4 + 4
export const batchBytesMax = 64 * 1024 * 1024

/** The numbers are on disk: append only. */
export const entryTypes = {
  /** Meta: JSON `SessionOpenedMeta`. */
  'session-opened': 1,
  /** Meta: JSON `SessionCutMeta`, written when the cut was ordered. */
  'session-cut': 2,
  /** Meta: JSON `SessionClosedMeta`. */
  'session-closed': 3,
  /** Meta: kind u8 (activityKinds). Payload: fields of the activity. Its id is its sequence. */
  activity: 4,
  /** Reference: sequence of the activity. Meta: see `OutcomeMeta`. Payload: the error text, if any. */
  outcome: 5,
  /** Meta: JSON `SessionRefusedMeta`. */
  'session-refused': 6,
  /** Meta: JSON `ProxyStartedMeta`. */
  'proxy-started': 7,
  /** Meta: JSON {"reason"}. */
  'proxy-stopped': 8,
  /** Control's own chain. Meta: JSON `ControlActionMeta`. Payload: JSON details. */
  'control-action': 9,
  /** A part of what a channel showed and was told. Reference, meta and payload: see recording.ts. */
  recording: 10,
  /** The end of a recording, with its digest. See recording.ts. */
  'recording-ended': 11,
} as const
export type EntryType = keyof typeof entryTypes

export const entryFlags = { withheld: 0x80 } as const

/** meta of `outcome`: status u8 | rows i64 (-1 unknown) | bytes up u64 | bytes down u64 | duration µs u64
 *  | error code length u8 | error code | tag length u8 | tag. */
export const outcomeMetaFixedBytes = 1 + 8 + 8 + 8 + 8

export interface SessionOpenedMeta {
  personId: string
  personEmail: string
  grantId: string
  grantRevision: number
  resource: string
  protocol: string
  level: string
  account: string
  upstream: string
  remoteAddress: string
  /** Of the certificate; a connect token's or login's id, or a key's fingerprint, where `evidence` says so. */
  certificateSerial: string
  /** What the person was identified by; absent (of older proxies): a certificate. */
  evidence?: 'certificate' | 'token' | 'key' | 'login' | 'browser' | 'api-token'
  attributes: Record<string, string>
  retention: string
  durability: 'written' | 'synced'
  expiresAtMs: number
  /** Whether control confirmed it, or a lease did. */
  admittedBy: 'control' | 'lease'
  /** The reference of the rule in the proxy's policy that let the secret be used, as it stands there; absent: an older proxy. */
  policyRule?: string
}

export interface SessionCutMeta {
  reason: string
  orderedAtMs: number
  detail: string
}

export interface SessionClosedMeta {
  /** A `CutReason` or an `EndReason`. */
  reason: string
  error?: string
  cut?: {
    reason: string
    orderedAtMs: number
    /** When the last byte passed to either side, farewell included. */
    lastByteAtMs: number
    /** When both sockets were gone. */
    closedAtMs: number
  }
  statements: number
  bytesUp: number
  bytesDown: number
}

export interface SessionRefusedMeta {
  code: string
  why: string
  resource: string
  personId?: string
  remoteAddress: string
}

export interface ProxyStartedMeta {
  version: string
  /** Head of the epoch before on this proxy; absent on the very first. */
  previous?: { epoch: string; batch: number; sequence: number; link: string }
  /** Sessions that the epoch before left open: their end is unknown, and so are unsettled statements. */
  lostSessions: string[]
  /** What recovery could not read, in words, with file and offset. */
  damage: string[]
}

export interface ControlActionMeta {
  /** For example `grant.made`, `grant.revoked`, `resources.applied`, `audit.read`. */
  action: string
  actor: string
  actorEmail: string
  target: string
  remoteAddress: string
}
