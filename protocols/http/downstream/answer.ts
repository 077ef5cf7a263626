/** What the proxy itself answers: a page for whoever reads pages, a problem document (RFC 9457) for everybody else. */
import { STATUS_CODES } from 'node:http'
import type { SallyportError } from '../../kit/errors.ts'
import type { RawHeaders } from '../upstream/app.ts'
import type { Exchange } from '../wire.ts'
import { fieldValue } from '../wire/fields.ts'
import { HttpRefusal, statusOf } from '../wire/refusal.ts'
import { pagePolicy, renderPage, type Page } from './page.ts'

/** A body smaller than this is read to its end and dropped, so that its client hears the answer; past it the connection ends. */
const droppedBodyBytesMax = 64 * 1024

const always = [
  ...['cache-control', 'no-store', 'x-content-type-options', 'nosniff'],
  ...['referrer-policy', 'no-referrer'],
]

/** Somebody looks at the answer: it may be a page. */
export function wantsPage(headers: RawHeaders): boolean {
  return /\btext\/html\b/i.test(fieldValue(headers, 'accept') ?? '')
}

/** A browser that opens a page, not one of its scripts (Fetch Metadata; for want of it, Accept). */
export function isNavigation({ method, headers }: Pick<Exchange, 'method' | 'headers'>): boolean {
  if (method !== 'GET') return false
  const mode = fieldValue(headers, 'sec-fetch-mode')
  if (mode === undefined) return wantsPage(headers)
  const target = fieldValue(headers, 'sec-fetch-dest')
  return mode === 'navigate' && (target === undefined || target === 'document')
}

export interface RefusalWords {
  /** What the button of the page does. */
  readonly action?: Page['action']
  readonly title?: string
  /** Instead of the error's own. */
  readonly lead?: string
  readonly hint?: string | undefined
  /** A sentence more, for a page. */
  readonly note?: string
  /** Members of the problem document besides its own. */
  readonly members?: Readonly<Record<string, string | number>>
  readonly headers?: RawHeaders
  readonly isLast?: boolean
  /** The answer is of an origin of its own (CSP Level 3, 6.4.2), not of the app's. */
  readonly isSandboxed?: boolean
}

/** Answers with an error, if nothing is sent yet; breaks the answer off otherwise. */
export function answerRefusal(
  exchange: Exchange,
  error: SallyportError,
  words: RefusalWords = {},
): void {
  const status = statusOf(error)
  const isLast = words.isLast === true || (error instanceof HttpRefusal && error.isLast)
  const headers = [...(words.headers ?? []), ...(status === 429 ? ['retry-after', '10'] : [])]
  const hint = words.hint ?? error.hint
  const lead = words.lead ?? error.clientMessage
  const title = words.title ?? titles[status] ?? STATUS_CODES[status] ?? 'Refused'
  if (wantsPage(exchange.headers)) {
    const page: Page = {
      ...{ title, lead: withNote(lead, words.note), code: error.code },
      ...(hint === undefined ? {} : adviceOf(hint, words.action !== undefined)),
      ...(words.action === undefined ? {} : { action: words.action }),
    }
    answerPage(exchange, status, page, { headers, isLast, isSandboxed: words.isSandboxed })
    return
  }
  if (words.isSandboxed === true) headers.push('content-security-policy', 'sandbox')
  const problem = {
    ...{ type: 'about:blank', title: STATUS_CODES[status], status },
    ...{ detail: lead, code: error.code },
    ...(hint === undefined ? {} : { hint }),
    ...words.members,
  }
  answer(exchange, status, 'application/problem+json', `${JSON.stringify(problem)}\n`, {
    headers,
    isLast,
  })
}

export function answerPage(
  exchange: Exchange,
  status: number,
  page: Page,
  more: {
    readonly headers?: RawHeaders
    readonly isLast?: boolean
    readonly formTargets?: readonly string[]
    readonly isSandboxed?: boolean | undefined
  } = {},
): void {
  const rules = pagePolicy(more.formTargets)
  // Not both: browsers open no sandboxed page that has an opener policy (HTML, 7.4.5).
  const policy =
    more.isSandboxed === true
      ? ['content-security-policy', `${rules}; sandbox`]
      : ['content-security-policy', rules, 'cross-origin-opener-policy', 'same-origin']
  answer(exchange, status, 'text/html; charset=utf-8', renderPage(page), {
    headers: [...policy, ...(more.headers ?? [])],
    isLast: more.isLast ?? false,
  })
}

/** Sends the browser elsewhere; `location` is of our own making. */
export function redirect(
  exchange: Exchange,
  status: 302 | 303,
  location: string,
  headers: RawHeaders = [],
): void {
  answer(exchange, status, 'text/plain; charset=utf-8', '', {
    headers: ['location', location, ...headers],
    isLast: false,
  })
}

function answer(
  exchange: Exchange,
  status: number,
  type: string,
  text: string,
  more: { readonly headers: RawHeaders; readonly isLast: boolean },
): void {
  if (exchange.isOver) return
  if (exchange.hasBegun) {
    exchange.abandon()
    return
  }
  const { body, source } = exchange
  const isUnread = body !== undefined && !source.readableEnded
  const isLong = body === 'chunked' || (body ?? 0) > droppedBodyBytesMax
  const bytes = Buffer.from(text)
  const headers = ['content-type', type, 'content-length', String(bytes.length), ...always]
  exchange.head(status, [...headers, ...more.headers], {
    last: more.isLast || (isUnread && isLong) || exchange.expectsContinue,
  })
  if (exchange.method !== 'HEAD' && bytes.length > 0) exchange.write(bytes)
  exchange.end()
}

/** An answer for who sent what is no request, as bytes. */
export function rawRefusal(refusal: HttpRefusal): string {
  const { status, code, clientMessage: detail } = refusal
  const title = STATUS_CODES[status]!
  const body = `${JSON.stringify({ type: 'about:blank', title, status, detail, code })}\n`
  return (
    `HTTP/1.1 ${status} ${title}\r\nContent-Type: application/problem+json\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n${body}`
  )
}

const titles: Readonly<Record<number, string>> = {
  400: 'That request makes no sense',
  401: 'Who are you?',
  403: 'Not allowed',
  404: 'Nothing here',
  421: 'Wrong connection',
  429: 'Too much at once',
  500: 'Something went wrong',
  502: 'The app cannot be reached',
  503: 'Not at the moment',
}

function withNote(text: string, note: string | undefined): string {
  return note === undefined ? sentence(text) : `${sentence(text)} ${note}`
}

/** Advice that begins with a command has it shown as one, to be copied; what else could be done comes last, and not beside a button. */
function adviceOf(hint: string, hasAction: boolean): Pick<Page, 'hint' | 'command'> {
  const [, command, more] = /^(?:[^;:]*: )?(sally [^;]+)(?:; (.+))?$/.exec(hint) ?? []
  if (command === undefined) return { hint: sentence(hint) }
  return { command, ...(more === undefined || hasAction ? {} : { hint: sentence(more) }) }
}

function sentence(text: string): string {
  const first = text.slice(0, 1).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(first) ? first : `${first}.`
}
