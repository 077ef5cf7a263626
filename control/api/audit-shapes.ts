/** Shapes of the stored chains and of what verifies them. */
import { z } from 'zod'
import * as names from './names.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)

export const segment = z.strictObject({
  /** A proxy's id, or `control`. */
  chain: text(64),
  epoch: text(64),
  firstBatch: z.int().nonnegative(),
  lastBatch: z.int().nonnegative(),
  /** Concatenated batches, base64. */
  batches: z.string(),
  /** Signed by the proxy (or control, for its own chain). Compact JWS. */
  checkpoint: text(8_192),
  /** The same head signed by control. Compact JWS. */
  countersignature: text(8_192),
  receivedAtMs: names.timeMs,
})
export type Segment = z.infer<typeof segment>
export const auditKeys = z.strictObject({
  keys: z.array(
    z.strictObject({
      kid: text(64),
      chain: text(64),
      use: z.enum(['checkpoint', 'countersignature']),
      publicKeyPem: text(4_096),
    }),
  ),
})
export type AuditKeys = z.infer<typeof auditKeys>
export const auditStatus = z.strictObject({
  proxies: z.array(
    z.strictObject({
      proxyId: names.id,
      connected: z.boolean(),
      lastHeardAtMs: names.timeMs.nullable(),
      entriesReceived: z.int(),
      entriesIndexed: z.int(),
      indexLagMs: z.int(),
      quarantined: z.int(),
    }),
  ),
})
