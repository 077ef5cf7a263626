import { levels, type HttpRule, type HttpTerms } from '../../protocols/session.ts'

/** Whether a session of HTTP may go on under the terms that it began with: nothing of them was taken away, and nothing more is recorded. */
export function keepsHttpTerms(
  before: HttpTerms | undefined,
  after: HttpTerms | undefined,
): boolean {
  if (before === undefined || after === undefined) return before === after
  const [had, has] = [before.limits, after.limits]
  return (
    before.version === after.version &&
    before.host === after.host &&
    JSON.stringify(before.credential) === JSON.stringify(after.credential) &&
    keepsRules(before.rules, after.rules) &&
    after.redactedParameters.every((each) => before.redactedParameters.includes(each)) &&
    before.recorded.requestBodyBytes >= after.recorded.requestBodyBytes &&
    before.recorded.responseBodyBytes >= after.recorded.responseBodyBytes &&
    (before.recorded.webSocketText || !after.recorded.webSocketText) &&
    has.headerBytesMax >= had.headerBytesMax &&
    has.answerMs >= had.answerMs &&
    has.requestsMax >= had.requestsMax &&
    anyIfZero(has.bodyBytesMax) >= anyIfZero(had.bodyBytesMax) &&
    anyIfZero(has.perMinuteMax) >= anyIfZero(had.perMinuteMax)
  )
}

const anyIfZero = (limit: number): number => (limit === 0 ? Infinity : limit)

/** The same rules in the same order, of which each asks for no more than it did, and those that denied may be gone. */
function keepsRules(before: readonly HttpRule[], after: readonly HttpRule[]): boolean {
  let next = 0
  for (const rule of before) {
    const other = after[next]
    if (other !== undefined && isSamePlace(rule, other)) {
      if (rankOf(other) > rankOf(rule)) return false
      next += 1
    } else if (rule.needs !== 'deny') return false
  }
  return next === after.length
}

function isSamePlace(one: HttpRule, other: HttpRule): boolean {
  return one.path === other.path && String(one.methods) === String(other.methods)
}

function rankOf({ needs }: HttpRule): number {
  return needs === 'deny' ? levels.length : levels.indexOf(needs)
}
