import { SallyportError } from '../../protocols/kit/errors.ts'
import { parseDuration } from '../api/duration.ts'

/** As control takes it, for any token of the API. */
const shortestMs = 60_000
const longestMs = 90 * 86_400_000

/** How long a token is to be good, in milliseconds: a minute to 90 days. Throws `usage` for anything else. */
export function parseTokenDuration(text: string): number {
  const forMs = parseDuration(text)
  if (forMs >= shortestMs && forMs <= longestMs) return forMs
  throw new SallyportError('usage', `a token for ${text}`, {
    clientMessage: `a token is good for 1m at least and 90d at most, not for ${text}`,
    hint: 'for example: --for 8h',
  })
}
