import type { z } from 'zod'
import { invalid } from '../refusals.ts'

/** What a link or a form brought, as its shape lets it through; more than it names is left out. Throws `request-invalid`. */
export function read<T extends z.ZodType>(shape: T, value: unknown): z.output<T> {
  const parsed = shape.safeParse(value ?? {})
  if (parsed.success) return parsed.data
  throw invalid('this link or form is not whole', 'go back, and try again')
}
