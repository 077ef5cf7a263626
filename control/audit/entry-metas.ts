/** Metas of entries as control reads them. What a proxy writes is checked: it may be older, newer or hostile. */
import { z } from 'zod'
import type { SessionClosedMeta, SessionCutMeta, SessionOpenedMeta } from '../api/audit/format.ts'
import { email, id, level, protocol, resourceName, timeMs } from '../api/names.ts'
import { cleanText, cutText } from './clean-text.ts'

const text = (charactersMax: number) =>
  z.string().transform((value) => cutText(cleanText(value), charactersMax))
const count = z.int().nonnegative()

export const sessionOpenedMeta = z.object({
  personId: id,
  personEmail: email,
  grantId: id,
  grantRevision: count,
  resource: resourceName,
  protocol,
  level,
  account: text(128),
  upstream: text(512),
  remoteAddress: text(64),
  certificateSerial: text(64),
  evidence: z
    .enum(['certificate', 'token', 'key', 'login', 'browser', 'api-token'])
    .exactOptional(),
  attributes: z.record(text(64), text(1_024)),
  retention: text(31),
  durability: z.enum(['written', 'synced']),
  expiresAtMs: timeMs,
  admittedBy: z.enum(['control', 'lease']),
  policyRule: text(512).exactOptional(),
}) satisfies z.ZodType<SessionOpenedMeta>

export const sessionCutMeta = z.object({
  reason: text(64),
  orderedAtMs: timeMs,
  detail: text(1_000),
}) satisfies z.ZodType<SessionCutMeta>

export const sessionClosedMeta = z.object({
  reason: text(64),
  error: text(1_000).exactOptional(),
  cut: z
    .object({
      reason: text(64),
      orderedAtMs: timeMs,
      lastByteAtMs: timeMs,
      closedAtMs: timeMs,
    })
    .exactOptional(),
  statements: count,
  bytesUp: count,
  bytesDown: count,
}) satisfies z.ZodType<SessionClosedMeta>

/** The meta, or undefined where the JSON is not what it should be. */
export function parseMeta<T>(shape: z.ZodType<T>, meta: Buffer): T | undefined {
  try {
    return shape.safeParse(JSON.parse(meta.toString('utf8'))).data
  } catch {
    return undefined
  }
}
