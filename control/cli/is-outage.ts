import { SallyportError } from '../../protocols/kit/errors.ts'

const outages: ReadonlySet<string> = new Set([
  'control-unreachable',
  'store-unavailable',
  'rate-limited',
])

/** Whether asking control again later may help: it is away, or has no room. A denial never is an outage. */
export function isOutage(error: unknown): error is SallyportError {
  return error instanceof SallyportError && outages.has(error.code)
}
