/**
 * The WebSocket between a proxy and control (mutual TLS, `/v1/proxy/feed`): JSON texts, one message each.
 * The feed flows down; confirmations go both ways. Positions are given in commit order, so that a cursor
 * never skips an event that committed late.
 */
import { z } from 'zod'
import { groupName, id, level, protocol, resourceName, timeMs } from './names.ts'
import { resource } from './resource.ts'
import { sshFingerprintText } from './ssh.ts'

/** `position` of a feed that was never read. */
export const feedStart = 0

export const messageBytesMax = 4 * 1024 * 1024

/** One thing that changed. Each is complete in itself and idempotent. */
export const feedEvent = z.discriminatedUnion('kind', [
  /** Issued or extended: `token` is the signed grant; a higher revision replaces a lower one. */
  z.strictObject({ kind: z.literal('grant'), token: z.string().max(8_192) }),
  /** Ended early. `revision` is the lowest that would be valid again. */
  z.strictObject({
    kind: z.literal('grant-revoked'),
    grantId: id,
    revision: z.int().min(1),
    orderedAtMs: timeMs,
    reason: z.string().max(1_000),
  }),
  z.strictObject({ kind: z.literal('person-revoked'), personId: id, orderedAtMs: timeMs }),
  /** A person may sign in again: certificates issued after `atMs` count. */
  z.strictObject({ kind: z.literal('person-restored'), personId: id, atMs: timeMs }),
  z.strictObject({
    kind: z.literal('certificate-revoked'),
    /** Hex, lower case, no leading zeros; or the id of a connect token that let a session in, or of a sign-in at a terminal. */
    serial: z.string().max(64),
    orderedAtMs: timeMs,
    /** After this it would have expired by itself and may be forgotten. */
    expiresAtMs: timeMs,
  }),
  z.strictObject({
    kind: z.literal('session-cut'),
    sessionId: id,
    orderedAtMs: timeMs,
    reason: z.string().max(1_000),
  }),
  z.strictObject({ kind: z.literal('resource'), resource }),
  z.strictObject({ kind: z.literal('resource-removed'), name: resourceName, orderedAtMs: timeMs }),
  /** Keys that sign grants, leases and countersignatures: all that are valid now. */
  z.strictObject({
    kind: z.literal('keys'),
    keys: z.array(z.strictObject({ kid: z.string().max(64), publicKeyPem: z.string().max(2_048) })),
  }),
  /** Authorities of people, PEM, all that are valid now. */
  z.strictObject({ kind: z.literal('people-authorities'), pems: z.array(z.string().max(8_192)) }),
  /** The same for SSH: lines of public keys of those that sign the certificates of people, and nothing else. */
  z.strictObject({ kind: z.literal('ssh-authorities'), people: z.array(z.string().max(4_096)) }),
  /** A key that a person has registered: it identifies them until it is removed, or `expiresAtMs`. */
  z.strictObject({
    kind: z.literal('ssh-key'),
    personId: id,
    personEmail: z.string().max(254),
    fingerprint: sshFingerprintText,
    /** `type base64`. */
    publicKey: z.string().max(4_096),
    addedAtMs: timeMs,
    expiresAtMs: timeMs,
  }),
  z.strictObject({
    kind: z.literal('ssh-key-removed'),
    fingerprint: sshFingerprintText,
    orderedAtMs: timeMs,
  }),
])
export type FeedEvent = z.infer<typeof feedEvent>

const warnings = z.array(z.string().max(400)).max(16)

export const toControl = z.discriminatedUnion('kind', [
  /** First message. `cursor`: the last position this proxy has on disk. */
  z.strictObject({
    kind: z.literal('hello'),
    cursor: z.int().nonnegative(),
    version: z.string().max(64),
    bootEpoch: z.string().max(64),
    /** What its operator should mend, in sentences. */
    warnings: warnings.optional(),
  }),
  /** Another list than in `hello`. A control that does not know it ends the connection, and the next `hello` has them. */
  z.strictObject({ kind: z.literal('warnings'), warnings }),
  /** Everything up to `position` is applied, and on disk. */
  z.strictObject({ kind: z.literal('applied'), position: z.int().nonnegative() }),
  /** What time has control? Answered at once, so that the way there and back bounds how far the clocks are apart. */
  z.strictObject({ kind: z.literal('time'), requestId: z.int().nonnegative() }),
  /** May this person open this session now? Asked for every session, also for ones that will be refused. */
  z.strictObject({
    kind: z.literal('confirm'),
    requestId: z.int().nonnegative(),
    sessionId: id,
    /** The grant of the cache; undefined when there is none (it may be on its way). */
    grantId: id.optional(),
    personId: id.optional(),
    certificateSerial: z.string().max(64).optional(),
    /** Instead of a certificate: the registered SSH key that they were identified by. */
    keyFingerprint: sshFingerprintText.optional(),
    /** Instead of a certificate: their sign-in at the terminal. */
    loginId: id.optional(),
    /** Instead of person and certificate: a connect token, used up by the answer `confirmed`. */
    connectToken: z
      .strictObject({
        /** SHA-256 of the token, hex: the token itself stays where it was shown. */
        digest: z.string().regex(/^[0-9a-f]{64}$/),
        /** Whose it must be, if the client said. */
        personEmail: z.string().max(320).optional(),
        remoteAddress: z.string().max(64),
      })
      .optional(),
    /** Instead of a certificate: a browser's session at this app (`appSession` of tokens.ts). */
    browserSignInId: id.optional(),
    /** Instead of person and certificate: an API token of scope `apps`, good for as many sessions as it lives. */
    apiToken: z
      .strictObject({
        digest: z.string().regex(/^[0-9a-f]{64}$/),
        remoteAddress: z.string().max(64),
      })
      .optional(),
    resource: z.string().max(253),
    /** What the client named: a level or an account; '' for none. */
    wanted: z.string().max(128),
    protocol,
  }),
])
export type ToControl = z.infer<typeof toControl>

export const toProxy = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('welcome'),
    proxyId: id,
    group: groupName,
    domain: z.string().max(253),
    controlTimeMs: timeMs,
  }),
  /** A cursor too old, or a first start: forget all and take `events` as the whole state at `position`. */
  z.strictObject({
    kind: z.literal('resync'),
    position: z.int().nonnegative(),
    events: z.array(feedEvent),
    /** More `resync` messages of the same position follow; the state is whole after the last. */
    more: z.boolean(),
  }),
  z.strictObject({
    kind: z.literal('events'),
    /** Position of the last event in the list. */
    position: z.int().nonnegative(),
    events: z.array(feedEvent),
  }),
  /** Every second. The proxy's view is complete up to `position`. */
  z.strictObject({
    kind: z.literal('heartbeat'),
    controlTimeMs: timeMs,
    position: z.int().nonnegative(),
    /** Signed lease; see tokens.ts. */
    lease: z.string().max(4_096),
  }),
  /** The answer to `time`. */
  z.strictObject({
    kind: z.literal('time'),
    requestId: z.int().nonnegative(),
    controlTimeMs: timeMs,
  }),
  z.strictObject({
    kind: z.literal('confirmed'),
    requestId: z.int().nonnegative(),
    /** The grant as it is now, signed. */
    token: z.string().max(8_192),
    /** Whose the connect token or API token was. */
    redeemed: z
      .strictObject({
        tokenId: id,
        personId: id,
        personEmail: z.string().max(254),
        /** When it was made. */
        issuedAtMs: timeMs,
        /** Of an API token: its end. */
        expiresAtMs: timeMs.optional(),
        /** The level that it is bound to. */
        level: level.optional(),
      })
      .optional(),
    /** The feed as it was when this was decided: look at revocations again once it is reached. */
    position: z.int().nonnegative(),
    controlTimeMs: timeMs,
  }),
  z.strictObject({
    kind: z.literal('denied'),
    requestId: z.int().nonnegative(),
    /** For the operator's log only. */
    why: z.enum([
      'no-person',
      'person-revoked',
      'certificate-revoked',
      'key-removed',
      'login-ended',
      'browser-signed-out',
      'no-resource',
      'not-in-group',
      'no-grant',
      'grant-ended',
      'token-unknown',
      'token-used',
      'token-late',
      'token-revoked',
      'token-elsewhere',
      'token-of-another',
      'error',
    ]),
    position: z.int().nonnegative(),
    controlTimeMs: timeMs,
  }),
])
export type ToProxy = z.infer<typeof toProxy>
