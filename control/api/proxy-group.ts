/** Shapes of proxy groups. Times are Unix milliseconds of control's clock. */
import { z } from 'zod'
import * as names from './names.ts'
import { sourceAddress } from './ssh.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)

/** Where servers see this group's proxies come from; empty: from where control sees them. */
const sshSourceAddresses = z.array(sourceAddress).max(32)
export const proxyGroup = z.strictObject({
  name: names.groupName,
  domain: text(253),
  sshSourceAddresses: sshSourceAddresses.default([]),
  proxies: z.array(
    z.strictObject({
      id: names.id,
      name: text(200),
      state: z.enum(['connected', 'away', 'revoked']),
      joinedAtMs: names.timeMs,
      /** What it said that its operator should mend, when it last connected. */
      warnings: z.array(text(400)).default([]),
    }),
  ),
})
export const proxyGroupCreate = z.strictObject({
  name: names.groupName,
  domain: names.domain,
})
export const proxyGroupChange = z.strictObject({ sshSourceAddresses })
