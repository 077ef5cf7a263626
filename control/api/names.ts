/** Words and shapes that several routes, the feed and the files share. */
import { z } from 'zod'
import { protocolNames } from '../../protocols/activity.ts'

export const defaultRealm = 'default'

export const realm = z.string().regex(/^[a-z][a-z0-9-]{0,30}$/)
/** The name of a resource is a DNS label, because it is one. */
export const resourceName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be a DNS label: a-z, 0-9 and "-"')
export const groupName = resourceName
/**
 * Of a group of proxies, which certificates and configurations of clients are written for: two labels at least, as one alone would claim
 * a whole top-level domain.
 */
export const domain = z
  .string()
  .max(253)
  .regex(
    /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    'must be a domain of two labels or more, such as access.example.com',
  )
export const email = z.email().max(254).toLowerCase()
export const id = z.uuid()
export const level = z.enum(['read', 'write', 'delete', 'admin'])
export type Level = z.infer<typeof level>
export const protocol = z.enum(protocolNames)
export const role = z.enum(['engineer', 'admin', 'auditor'])
export type Role = z.infer<typeof role>
/** What an API token may do: read, or also make and withdraw requests; or nothing here, but reach the HTTP apps that its person may. */
export const tokenScope = z.enum(['read', 'request', 'apps'])
export type TokenScope = z.infer<typeof tokenScope>
/** A group of people, as the identity provider spells it. */
export const peopleGroup = z
  .string()
  .min(1)
  .max(200)
  // oxlint-disable-next-line no-control-regex -- these are what must not be in it
  .regex(/^[^\u0000-\u001f\u007f]+$/, 'must not hold control characters')
/** Unix milliseconds, as control's clock has them. */
export const timeMs = z.int().nonnegative()
/** A zero byte would end the text for some that read it, and the store does not take it. */
export const hasNoZero = (text: string): boolean => !text.includes('\0')
export const reason = z
  .string()
  .trim()
  .min(1)
  .max(1_000)
  .refine(hasNoZero, 'must not hold a zero byte')
export const retentionClass = z.string().regex(/^[a-z][a-z0-9-]{0,30}$/)
/** A base64url or base64 text of bounded length. */
export const base64 = (charactersMax: number) => z.string().max(charactersMax)
