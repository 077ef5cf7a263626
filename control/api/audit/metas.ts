/** Shapes of the JSON metas that the chain itself depends on; unknown fields (of a newer writer) are passed over. */
import { z } from 'zod'
import type { ProxyStartedMeta } from './format.ts'
import type { RecordingEndedMeta } from './recording.ts'

const count = z.int().nonnegative()

export const proxyStarted: z.ZodType<ProxyStartedMeta> = z.object({
  version: z.string(),
  previous: z
    .object({
      epoch: z.uuid(),
      batch: count,
      sequence: count,
      link: z.string().regex(/^[0-9a-f]{64}$/),
    })
    .exactOptional(),
  lostSessions: z.array(z.string()),
  damage: z.array(z.string()),
})

export const recordingEnded: z.ZodType<RecordingEndedMeta> = z.object({
  parts: count,
  frames: count,
  bytes: count,
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  lostBytes: count,
})
