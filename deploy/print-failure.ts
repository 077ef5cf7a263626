import { toSallyportError } from '../protocols/kit/errors.ts'

/** What went wrong and what to do next, for a person at a terminal; never a stack trace. */
export function printFailure(error: unknown): void {
  const { clientMessage, hint, message, code } = toSallyportError(error)
  // A plain Error's own words are better than those for strangers: this is the operator.
  const known = code !== 'internal' || hint !== undefined
  console.error(`error: ${known ? clientMessage : message}`)
  if (hint !== undefined) console.error(`hint: ${hint}`)
}
