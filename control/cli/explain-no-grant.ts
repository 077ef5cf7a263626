import { SallyportError } from '../../protocols/kit/errors.ts'
import type { ApiClient } from '../api/client.ts'
import type { Level } from '../api/names.ts'
import type { Why } from '../api/request.ts'
import { askCommand, askedText, connectCommand, waitsForText } from './request-words.ts'

/** The refusal for who connects without a grant: what is missing, and the command that asks for it. */
export async function explainNoGrant(
  api: ApiClient,
  name: string,
  level: Level | undefined,
): Promise<SallyportError> {
  const unknown = new SallyportError('not-found', `no resource ${name}`, {
    clientMessage: `there is no resource ${JSON.stringify(name)} that you may reach or ask for`,
    hint: 'sally resources shows what you may reach and what you may ask for',
  })
  let why: Why
  try {
    why = await api.call('why', { params: { name } })
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'not-found') return unknown
    throw error
  }
  const { grants, pending, ways } = why
  if (grants.length + pending.length + ways.length === 0) return unknown
  const at = level === undefined ? '' : ` at level ${level}`
  return new SallyportError('access-denied', `no live grant on ${name}${at}`, {
    clientMessage: `you have no live grant on "${name}"${at}`,
    hint: hintOf(why, level),
  })
}

function hintOf({ resource, grants, pending, ways }: Why, level: Level | undefined): string {
  const fits = (one: { level: Level }): boolean => level === undefined || one.level === level
  const asked = pending.find((request) => request.mine === 'asked' && fits(request))
  if (asked !== undefined) {
    return `you asked for ${askedText(asked)}; it waits for ${waitsForText(asked)}: sally requests --mine`
  }
  const way = ways.find(fits)
  if (way !== undefined) {
    const who = way.approvalsNeeded === 0 ? 'approved at once' : 'somebody has to say yes'
    return `ask for it (${who}): ${askCommand(resource, way)}`
  }
  const [grant] = grants
  return grant === undefined
    ? `what you may ask for: sally why ${resource}`
    : `what you have: ${connectCommand(grant)}; what you may ask for: sally why ${resource}`
}
