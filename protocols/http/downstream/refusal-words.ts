/** What to do about a refusal: a link for browsers, a command for programs. */
import { SallyportError } from '../../kit/errors.ts'
import type { Cut, Level, Session } from '../../session.ts'
import type { Exchange } from '../wire.ts'
import { needOfMethod } from '../relay/rules.ts'
import { fieldValue } from '../wire/fields.ts'
import { HttpRefusal, statusOf } from '../wire/refusal.ts'
import { answerRefusal, wantsPage, type RefusalWords } from './answer.ts'
import type { Asked } from './check.ts'
import type { HeldLease } from './held-lease.ts'
import { ownPaths } from './own-paths.ts'
import { returnPath } from './return-path.ts'

/** A session of a lower level than the request needs. */
export class LevelRefusal extends HttpRefusal {
  readonly needs: Level | 'deny'

  constructor(needs: Level | 'deny', { labels }: Pick<Session, 'labels'>) {
    if (needs === 'deny') {
      super(403, 'access-denied', 'nobody may do this here, at any level', {
        hint: 'the resource’s rules refuse it; its owner can change them',
      })
    } else {
      super(403, 'access-denied', `this needs level ${needs}, and you have ${labels.level}`, {
        hint: `ask for it: sally request ${labels.resource} --level ${needs} --reason TEXT --wait`,
      })
    }
    this.needs = needs
  }
}

/** Words of a refusal under a session. */
export function refusalWords(
  error: SallyportError,
  asked: Asked,
  exchange: Exchange,
): RefusalWords {
  if (!(error instanceof LevelRefusal) || error.needs === 'deny') return {}
  const { needs } = error
  return {
    title: `This needs level ${needs}`,
    ...(exchange.body === undefined ? {} : { note: 'What you sent did not reach the app.' }),
    members: { level: needs },
    action: {
      label: `Ask for level ${needs}`,
      href: openLink(needs, pageOf(exchange, asked)),
    },
  }
}

/**
 * Words for who is not let in. What is known of the resource's rules is nobody's business yet, so the level is the one that was asked
 * for, else the one that the method needs where no rule says otherwise.
 */
export function deniedWords(
  error: SallyportError,
  exchange: Exchange,
  asked: Asked,
  wanted: Level | '',
): RefusalWords {
  const page = pageOf(exchange, asked)
  if (error.code !== 'access-denied') {
    // Nobody could let them in who is not kept out for want of a grant.
    return statusOf(error) === 503 ? { action: { label: 'Try again', href: page } } : {}
  }
  const level = wanted === '' ? needOfMethod(exchange.method) : wanted
  // The gate knows no method, and names the lowest level to whoever named none.
  const hint = error.hint?.replace(/(sally request \S+ --level) \S+/, `$1 ${level}`)
  const action = { label: 'Ask for access', href: openLink(level, page) }
  const note = 'The next page shows who can let you in, and asks them.'
  return { title: 'No access now', note, hint, members: { level }, action }
}

/** Words for who shows nothing of themselves: a form that was sent too late, or a program. The gate knows nothing of either. */
export function strangerWords({ headers, body }: Exchange): RefusalWords {
  if (!wantsPage(headers)) {
    const other = fieldValue(headers, 'authorization') !== undefined
    return {
      lead: other
        ? 'what Authorization holds is no token of Sallyport, and nothing else says who asks'
        : 'nothing in this request says who asks',
      hint: 'use sally curl, or a token: curl -H "Authorization: Bearer $(sally proxy-token)"; client certificates are taken too',
    }
  }
  return {
    title: 'You are not signed in',
    lead: 'you are not signed in here, or not any more',
    ...(body === undefined ? {} : { note: 'What you sent did not reach the app.' }),
    hint: 'after signing in you come back to the page where you were',
  }
}

/** Where a browser asks (again) for access, and comes back to where it was. */
export function openLink(level: Level, to: string): string {
  return `${ownPaths.open}?${new URLSearchParams({ level, to }).toString()}`
}

/** The page that somebody was at: this one, or for anything but a page the one that it came from. */
export function pageOf({ method, target, headers }: Exchange, { authority }: Asked): string {
  if (method === 'GET') return returnPath(target)
  const from = fieldValue(headers, 'referer') ?? ''
  const origin = `https://${authority}`
  return from.startsWith(`${origin}/`) ? returnPath(from.slice(origin.length)) : '/'
}

/** What a client is answered that was cut before its answer began. */
export const cutStatus = '403'

/** Tells of a cut what the gate says of it. What is asked for again is what this request needs, not what was there before. */
export function answerCut(
  exchange: Exchange,
  { message, hint, reason }: Cut,
  asked: Asked,
  { rules, session }: Pick<HeldLease, 'rules' | 'session'>,
): void {
  const need = rules.needOf(exchange.method, asked.path)
  const level = need === 'deny' ? session.labels.level : need
  const error = new SallyportError('access-denied', `cut: ${reason}`, {
    clientMessage: message,
    hint,
  })
  answerRefusal(exchange, error, {
    title: 'Your access has ended',
    members: { reason },
    action: { label: 'Ask again', href: openLink(level, pageOf(exchange, asked)) },
    isLast: true,
  })
}

/** In the last window before the end: when it is, and what was said of it. */
export function warningHeaders({ warning, expiresAtMs }: Session): string[] {
  if (warning === undefined) return []
  const line = warning.replaceAll(/[^\t -~]/g, '?')
  const isMoment = expiresAtMs < 8.64e15
  return [
    ...(isMoment ? ['sallyport-expires-at', new Date(expiresAtMs).toISOString()] : []),
    ...['sallyport-warning', line],
  ]
}
