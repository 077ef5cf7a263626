/** Pages of lists. */
import { z } from 'zod'

/** Where the next page starts; opaque, given by the page before. */
export const cursor = z.string().max(512)
export const pageSize = z.coerce.number().int().min(1).max(1_000).default(100)
export const pageQuery = z.strictObject({ cursor: cursor.optional(), limit: pageSize })
