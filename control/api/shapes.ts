/** Shapes of the API's bodies. Times are Unix milliseconds of control's clock. */
import { z } from 'zod'
import { outcomeStatuses } from '../../protocols/activity.ts'
import { login } from './login-view.ts'
import * as names from './names.ts'
import { cursor, pageQuery, pageSize } from './page.ts'
import { resource, resourcesFile } from './resource.ts'
import { sshCertificate, sshPublicKeyText } from './ssh.ts'

export { auditKeys, auditStatus, segment, type AuditKeys, type Segment } from './audit-shapes.ts'
export { login, type Login } from './login-view.ts'
export { groupName, reason } from './names.ts'
export { pageQuery } from './page.ts'
export { proxyGroup, proxyGroupChange, proxyGroupCreate } from './proxy-group.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)
/** A moment: Unix milliseconds (as a query text). */
const moment = z.coerce.number().int().nonnegative()

export const page = <T extends z.ZodType>(item: T) =>
  z.strictObject({ items: z.array(item), next: cursor.nullable() })
export const done = z.strictObject({ done: z.literal(true) })
export const health = z.strictObject({
  ok: z.boolean(),
  checks: z.record(z.string(), z.strictObject({ ok: z.boolean(), detail: z.string() })),
})

export const person = z.strictObject({
  id: names.id,
  email: names.email,
  name: text(200),
  roles: z.array(names.role),
  groups: z.array(names.peopleGroup),
  state: z.enum(['active', 'revoked']),
  createdAtMs: names.timeMs,
})
export type Person = z.infer<typeof person>
export const personCreate = z.strictObject({
  email: names.email,
  name: text(200).refine(names.hasNoZero, 'must not hold a zero byte').optional(),
  roles: z.array(names.role).min(1).default(['engineer']),
  /** For a person whom no identity provider knows; a sign-in replaces them. */
  groups: z.array(names.peopleGroup).max(200).default([]),
})
export const whoami = z.strictObject({
  person,
  realm: names.realm,
  /** Null where an API token stood for the person. */
  certificate: z.strictObject({ serial: text(64), expiresAtMs: names.timeMs }).nullable(),
  token: z
    .strictObject({ id: names.id, scope: names.tokenScope, expiresAtMs: names.timeMs })
    .optional(),
  /** The sign-in that the certificate belongs to; null where an admin issued it, or for a token. */
  login: login.nullable(),
  controlTimeMs: names.timeMs,
})
export const certificateIssue = z.strictObject({
  /** PKCS #10, PEM. Only its public key is taken; names come from control. */
  requestPem: text(16_384),
  /** Default and maximum: control's configuration (8 hours). */
  forMs: z.int().min(60_000).optional(),
  /** The SSH key that gets a certificate too. */
  sshPublicKey: sshPublicKeyText.optional(),
})
export const certificate = z.strictObject({
  certificatePem: text(16_384),
  serial: text(64),
  expiresAtMs: names.timeMs,
  /** Authorities of the proxies' server certificates, PEM, concatenated. */
  serverAuthoritiesPem: text(65_536),
  /** Authority of control's own server certificate, PEM. */
  controlAuthorityPem: text(65_536),
  /** For the SSH key that was given; absent for who reaches no resource (auditors). */
  ssh: sshCertificate.optional(),
  /** Authorities of the proxies' SSH host certificates, lines of public keys: for `@cert-authority` in known_hosts. */
  sshHostAuthorities: z.array(text(4_096)).optional(),
})

export const resourceView = z.strictObject({
  name: names.resourceName,
  protocol: names.protocol,
  /** It becomes PGHOST: a path, a list or an address is none. */
  hostname: z
    .string()
    .max(253)
    .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i),
  levels: z.array(names.level),
  group: names.groupName,
  tags: z.record(z.string(), z.string()),
  description: text(1_000).optional(),
  owner: text(254).optional(),
  /** Levels at which the caller has a live grant. */
  reach: z.array(names.level).default([]),
  /** Levels that an access flow would let the caller ask for. */
  ask: z.array(names.level).default([]),
  /** The whole definition; for admins and auditors only. */
  definition: resource.optional(),
  updatedAtMs: names.timeMs,
})
export type ResourceView = z.infer<typeof resourceView>
export const resourcesApply = z.strictObject({
  file: resourcesFile,
  /** Only say what would change. */
  dryRun: z.boolean().default(false),
  /** Remove resources that the file does not name. */
  prune: z.boolean().default(false),
  /** Refuse if the state is not the one a plan was made of. */
  expectedVersion: z.int().nonnegative().optional(),
})
export const resourcesPlan = z.strictObject({
  version: z.int().nonnegative(),
  applied: z.boolean(),
  changes: z.array(
    z.strictObject({
      action: z.enum(['add', 'change', 'remove', 'keep']),
      name: names.resourceName,
      /** For `change`: `path: old → new` lines. */
      details: z.array(text(2_000)),
      /** Live sessions that the change would cut. */
      sessionsAffected: z.int().nonnegative(),
    }),
  ),
})
export type ResourcesPlan = z.infer<typeof resourcesPlan>

export const grant = z.strictObject({
  id: names.id,
  revision: z.int().min(1),
  personId: names.id,
  personEmail: names.email,
  resource: names.resourceName,
  level: names.level,
  state: z.enum(['live', 'ended', 'revoked']),
  reason: names.reason,
  madeBy: names.email,
  madeAtMs: names.timeMs,
  expiresAtMs: names.timeMs,
  revokedAtMs: names.timeMs.nullable(),
  revokedBy: names.email.nullable(),
  revokeReason: text(1_000).nullable(),
})
export type Grant = z.infer<typeof grant>
export const grantsQuery = pageQuery.extend({
  person: names.email.optional(),
  resource: names.resourceName.optional(),
  state: z.enum(['live', 'ended', 'revoked', 'all']).default('live'),
})
const forMs = z
  .int()
  .min(1_000)
  .max(30 * 86_400_000)
export const grantMake = z.strictObject({
  person: names.email,
  resource: names.resourceName,
  level: names.level,
  forMs,
  reason: names.reason,
})
export const grantExtend = z.strictObject({
  /** Added to the present end. */
  byMs: forMs,
  reason: names.reason,
})

export const session = z.strictObject({
  id: names.id,
  state: z.enum(['live', 'closed']),
  personId: names.id,
  personEmail: names.email,
  grantId: names.id,
  resource: names.resourceName,
  protocol: names.protocol,
  level: names.level,
  account: text(128),
  proxyId: names.id,
  remoteAddress: text(64),
  attributes: z.record(z.string(), z.string()),
  admittedBy: z.enum(['control', 'lease']),
  /** What the person was identified by: a certificate's serial number or a connect token's id. */
  evidence: z
    .strictObject({
      kind: z.enum(['certificate', 'token', 'key', 'login', 'browser', 'api-token']),
      id: text(64),
    })
    .optional(),
  openedAtMs: names.timeMs,
  closedAtMs: names.timeMs.nullable(),
  /** A cut reason or an end reason; null while live. */
  endReason: text(64).nullable(),
  cut: z
    .strictObject({
      reason: text(64),
      orderedAtMs: names.timeMs,
      lastByteAtMs: names.timeMs.nullable(),
      closedAtMs: names.timeMs.nullable(),
    })
    .nullable(),
  statements: z.int().nonnegative(),
  bytesUp: z.int().nonnegative(),
  bytesDown: z.int().nonnegative(),
  /** How many recordings there are of it. */
  recordings: z.int().nonnegative().optional(),
})
export type SessionView = z.infer<typeof session>
export const sessionsQuery = pageQuery.extend({
  person: names.email.optional(),
  resource: names.resourceName.optional(),
  grant: names.id.optional(),
  state: z.enum(['live', 'closed', 'all']).default('all'),
})

const outcomeStatus = z.enum(Object.keys(outcomeStatuses) as [keyof typeof outcomeStatuses])
export const auditQuery = pageQuery.extend({
  /** Part of the text, case-insensitive. */
  text: text(1_000).optional(),
  person: names.email.optional(),
  resource: names.resourceName.optional(),
  session: names.id.optional(),
  level: names.level.optional(),
  /** `running`: none yet. */
  outcome: z.enum(['running', ...outcomeStatus.options]).optional(),
  since: moment.optional(),
  until: moment.optional(),
  order: z.enum(['newest', 'oldest']).default('newest'),
})
const parameter = z.discriminatedUnion('form', [
  z.strictObject({ form: z.literal('text'), value: z.string() }),
  z.strictObject({ form: z.literal('null') }),
  z.strictObject({ form: z.literal('binary'), hex: z.string() }),
])
export const activity = z.strictObject({
  proxyId: names.id,
  epoch: text(64),
  sequence: z.int().nonnegative(),
  sessionId: names.id,
  personEmail: names.email,
  resource: names.resourceName,
  protocol: names.protocol,
  level: names.level,
  kind: text(32),
  /** Microseconds since 1970, as the proxy's clock had it. */
  atUs: z.int().nonnegative(),
  text: z.string(),
  /** Set when the whole text is in a blob and `text` is its beginning. */
  textBlob: z.strictObject({ sha256: text(64), bytes: z.int() }).nullable(),
  preparedName: z.string(),
  parameters: z.array(parameter),
  parametersBlob: z.strictObject({ sha256: text(64), bytes: z.int() }).nullable(),
  redacted: z.boolean(),
  /** Of `terminal-output`, which is found beside what was done: in which recording of the session, and where. */
  recording: z
    .strictObject({ number: z.int().nonnegative(), atUs: z.int().nonnegative() })
    .optional(),
  /** Null while it runs (or while the outcome is on its way). */
  outcome: z
    .strictObject({
      status: outcomeStatus,
      rows: z.int().nullable(),
      bytesUp: z.int(),
      bytesDown: z.int(),
      durationUs: z.int(),
      tag: text(256),
      errorCode: text(64),
      errorText: z.string(),
    })
    .nullable(),
})
export type ActivityView = z.infer<typeof activity>
export const auditPage = z.strictObject({
  items: z.array(activity),
  next: cursor.nullable(),
  /** How far the index is behind what was received. */
  indexLagMs: z.int().nonnegative(),
})
export const watchQuery = z.strictObject({
  /** Without one a new watch begins, which is a reading on record. */
  cursor: text(8_192).optional(),
  limit: pageSize,
  /** Answers as soon as there is something, at the latest after this. */
  waitMs: z.coerce.number().int().min(0).max(10_000).default(0),
})
export const watchPage = z.strictObject({
  session,
  /** What was done since, oldest first. Once more, with its outcome, what came without one before. */
  items: z.array(activity),
  next: text(8_192),
  /** The session is over, and this is the last of it. */
  ended: z.boolean(),
})
export const controlAction = z.strictObject({
  sequence: z.int().nonnegative(),
  atMs: names.timeMs,
  action: text(64),
  actorEmail: text(254),
  target: text(512),
  remoteAddress: text(64),
  details: z.record(z.string(), z.unknown()).nullable(),
})

export const segmentsQuery = pageQuery.extend({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  proxy: text(64).optional(),
  /** Leave the payloads out (commitments stay). Reading payloads is audited. */
  payloads: z.enum(['with', 'without']).default('without'),
})
export const joinToken = z.strictObject({
  /** `sallyport-join.<secret>.<SHA-256 of control's authority>`; shown once. */
  token: text(512),
  expiresAtMs: names.timeMs,
})
export const proxyJoin = z.strictObject({
  token: text(512),
  name: text(200).refine(names.hasNoZero, 'must not hold a zero byte'),
  /** PKCS #10, PEM: key of the proxy's identity towards control, and for its checkpoints. */
  clientRequestPem: text(16_384),
  /** PKCS #10, PEM: key of the server certificate that engineers' clients see. */
  serverRequestPem: text(16_384),
})
export const proxyRenew = proxyJoin.omit({ token: true, name: true })
export const proxyJoined = z.strictObject({
  proxyId: names.id,
  realm: names.realm,
  group: names.groupName,
  domain: text(253),
  clientCertificatePem: text(16_384),
  serverCertificatePem: text(16_384),
  controlAuthorityPem: text(65_536),
  peopleAuthoritiesPem: text(65_536),
  /** Set when control's realm is marked as a demo. */
  demo: z.boolean(),
})
export type ProxyJoined = z.infer<typeof proxyJoined>
export const segmentsStored = z.strictObject({
  epoch: text(64),
  /** Everything up to this batch is stored durably. */
  acknowledgedBatch: z.int().nonnegative(),
  countersignature: text(8_192),
  /** Batches that conflict with stored ones and went to quarantine instead. */
  quarantined: z.int().nonnegative(),
})
export const blobQuery = z.strictObject({
  /** Session whose key encrypts it. */
  session: names.id,
  /** Where this part starts; parts of up to 8 MiB come in order. */
  offset: z.coerce.number().int().nonnegative(),
  /** Length of the whole. */
  total: z.coerce.number().int().positive(),
})
