import type { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'

/** A place in a list, as the opaque text that the next request brings back. */
export function encodeCursor(place: unknown): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url')
}

/** Rejects what we never gave out, with `request-invalid`. */
export function decodeCursor<T>(shape: z.ZodType<T>, cursor: string): T {
  let place: unknown
  try {
    place = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    place = undefined
  }
  const parsed = shape.safeParse(place)
  if (parsed.success) return parsed.data
  throw new SallyportError('request-invalid', 'cursor is not one of ours', {
    clientMessage: 'the cursor is not one that this list gave',
    hint: 'start again without a cursor',
  })
}
