/** What the proxy serves at an app's host: the way in and out of a browser's session, and its warnings. None of it reaches the app. */
import { createHash } from 'node:crypto'
import type { Timer } from '../../kit/clock.ts'
import { toSallyportError } from '../../kit/errors.ts'
import { Secret } from '../../kit/secret.ts'
import { levels, type Cut, type Level } from '../../session.ts'
import type { Exchange } from '../wire.ts'
import { fieldValue } from '../wire/fields.ts'
import { HttpRefusal } from '../wire/refusal.ts'
import { answerPage, answerRefusal, redirect } from './answer.ts'
import type { Asked } from './check.ts'
import type { ClientConnection } from './client-connection.ts'
import { cookiesOf, sessionCookie, visitCookiePrefix } from './evidence.ts'
import type { HeldLease, Leaseholder } from './held-lease.ts'
import { ownPaths } from './own-paths.ts'
import { returnPath } from './return-path.ts'

/** Sign-ins that one browser may have begun at one app. */
const visitsMax = 4
/** As control takes the visit: an approval may take as long. */
const visitSeconds = 8 * 3_600
const cookieFlags = 'Path=/; Secure; HttpOnly; SameSite=Lax'
const codeForm = /^[A-Za-z0-9_-]{43}$/
const visitForm = /^[0-9a-f]{8}$/

/** Answers what is asked of one of our own paths. Rejects with what is to be answered instead. */
export async function serveOwnPath(
  exchange: Exchange,
  asked: Asked,
  connection: ClientConnection,
  lease: () => HeldLease | Promise<HeldLease>,
): Promise<void> {
  const query = new URLSearchParams(exchange.target.slice(asked.path.length))
  const { method } = exchange
  switch (asked.path) {
    case ownPaths.finish:
      if (method !== 'GET') break
      await finish(exchange, asked, connection, query)
      return
    case ownPaths.open: {
      if (method !== 'GET') break
      requireNavigation(exchange)
      const level = levels.find((each) => each === query.get('level')) ?? 'read'
      await beginVisit(exchange, asked, connection, level, query.get('to') ?? '/')
      return
    }
    case ownPaths.signOut:
      if (method === 'GET') offerSignOut(exchange, connection)
      else if (method === 'POST') signOut(exchange, asked, connection)
      else break
      return
    case ownPaths.events:
      if (method !== 'GET') break
      sendEvents(exchange, await lease(), connection)
      return
    default:
  }
  throw new HttpRefusal(404, 'not-found', 'there is no such page of the proxy’s')
}

/** Sends a browser to the console to sign in or ask; it keeps a secret meanwhile, and where it wanted to go. */
export async function beginVisit(
  exchange: Exchange,
  { resource, port }: Asked,
  { gate }: ClientConnection,
  level: Level,
  to: string,
): Promise<void> {
  const { url, binding } = await gate.browsers.begin({ resource, level, port })
  const kept = binding.reveal()
  const name = visitCookiePrefix + visitOf(kept)
  const path = Buffer.from(returnPath(to)).toString('base64url')
  const others = cookiesOf(exchange.headers)
    .map(([each]) => each)
    .filter((each) => each.startsWith(visitCookiePrefix) && each !== name)
  const forgotten = others.slice(0, Math.max(0, others.length - visitsMax + 1))
  redirect(exchange, 302, url, [
    ...['set-cookie', `${name}=${kept}.${path}; ${cookieFlags}; Max-Age=${visitSeconds}`],
    ...forgotten.flatMap((each) => ['set-cookie', forget(each)]),
  ])
}

/** The browser is back with a code: its session becomes a cookie of this host, and it goes on to where it wanted. */
async function finish(
  exchange: Exchange,
  { resource }: Asked,
  connection: ClientConnection,
  query: URLSearchParams,
): Promise<void> {
  const { gate, remoteAddress, host } = connection
  const code = query.get('code') ?? ''
  const visit = query.get('visit') ?? ''
  requireNavigation(exchange)
  const name = visitCookiePrefix + visit
  const kept = cookiesOf(exchange.headers).find(([each]) => each === name)?.[1] ?? ''
  const dot = kept.indexOf('.')
  if (!codeForm.test(code) || !visitForm.test(visit)) throw notBegunHere()
  const binding = kept.slice(0, Math.max(0, dot))
  const isKept = dot > 0 && visitOf(binding) === visit
  const finished = gate.browsers.finish({
    ...{ resource, remoteAddress, code: new Secret(code) },
    // Shown by a browser that did not begin it, a code is used up: whoever did must not have it another way.
    binding: isKept ? new Secret(binding) : undefined,
  })
  if (!isKept) {
    await finished.then(ignored, ignored)
    throw notBegunHere()
  }
  const { cookie, expiresAtMs } = await finished
  connection.admitted()
  const seconds = Math.max(1, Math.floor((expiresAtMs - host.clock.wallMs()) / 1_000))
  const to = returnPath(Buffer.from(kept.slice(dot + 1), 'base64url').toString('latin1'))
  redirect(exchange, 303, to, [
    ...['set-cookie', `${sessionCookie}=${cookie.reveal()}; ${cookieFlags}; Max-Age=${seconds}`],
    ...['set-cookie', forget(name)],
  ])
}

/** What other sites have their pages load is no sign-in: a page full of pictures would use up the visits of a whole office. */
function requireNavigation({ headers }: Exchange): void {
  const mode = fieldValue(headers, 'sec-fetch-mode')
  const target = fieldValue(headers, 'sec-fetch-dest')
  const isPage = (mode ?? 'navigate') === 'navigate' && (target ?? 'document') === 'document'
  if (!isPage) throw new HttpRefusal(403, 'not-allowed', 'only a browser’s window may go here')
}

/** Said to whoever did not begin: also to somebody who was sent a link to sign in as somebody else. */
function notBegunHere(): HttpRefusal {
  return new HttpRefusal(400, 'evidence-invalid', 'this sign-in did not begin in this browser', {
    hint: 'Open the app again. Cookies of this site must be allowed.',
  })
}

function offerSignOut(exchange: Exchange, { gate }: ClientConnection): void {
  const page = {
    title: 'Sign out?',
    lead: 'You will be signed out here, and can then sign out everywhere.',
    action: { label: 'Sign out', href: ownPaths.signOut, posts: true },
  }
  answerPage(exchange, 200, page, { formTargets: [originOf(gate.browsers.signOutUrl)] })
}

function signOut(exchange: Exchange, { authority }: Asked, { gate }: ClientConnection): void {
  const { headers } = exchange
  const site = fieldValue(headers, 'sec-fetch-site')
  const origin = fieldValue(headers, 'origin')
  // Our page sends no referrer, and so a null origin; then Fetch Metadata must vouch for it.
  const isOurs = site === 'same-origin' || (site === undefined && origin === `https://${authority}`)
  if (!isOurs) {
    throw new HttpRefusal(403, 'not-allowed', 'another site may not sign you out')
  }
  redirect(exchange, 303, gate.browsers.signOutUrl, ['set-cookie', forget(sessionCookie)])
}

/** Warnings and the end of a session, as server-sent events, for the console's own bar. */
function sendEvents(exchange: Exchange, held: HeldLease, { gate, host }: ClientConnection): void {
  // Gone while the gate was asked: nothing would say so again.
  if (exchange.isOver || exchange.hasBegun) return
  const { session } = held
  let toldMs: number | undefined
  let timer: Timer | undefined
  const write = (text: string): void => {
    if (!exchange.isOver) exchange.write(Buffer.from(text))
  }
  const send = (event: string, data: object): void =>
    write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
  /** The end moves when the grant is extended; otherwise a sign of life for what is between here and the browser. */
  const tellEnd = (): void => {
    const { expiresAtMs } = session
    if (expiresAtMs === toldMs) write(':\n\n')
    else send('session', { level: session.labels.level, expiresAtMs })
    toldMs = expiresAtMs
    timer = host.clock.startTimer(host.limits.keepaliveMs, tellEnd)
  }
  const holder: Leaseholder = {
    cut({ reason, message, hint }: Cut) {
      send('end', { reason, message, hint })
      exchange.end()
    },
  }
  const stop = held.onWarning((line) => send('warning', { line }))
  const detach = session.attach(exchange.downstream)
  exchange.onClose(() => {
    stop()
    timer?.cancel()
    detach()
    held.leave(place)
  })
  const place = held.enter(holder)
  held.counter.enter()
  exchange.onClose(() => held.counter.leave())
  exchange.head(200, [
    ...['content-type', 'text/event-stream', 'cache-control', 'no-store'],
    ...['x-content-type-options', 'nosniff'],
    ...['access-control-allow-origin', originOf(gate.browsers.signOutUrl)],
    ...['access-control-allow-credentials', 'true', 'vary', 'origin'],
  ])
  tellEnd()
  if (session.warning !== undefined) send('warning', { line: session.warning })
  if (held.ended !== undefined) holder.cut(held.ended)
}

/** A refusal of one of our paths. Its address may hold a code: no page of the app that opened the window is to read it there. */
export function refuseOwnPath(exchange: Exchange, thrown: unknown): void {
  const error = toSallyportError(thrown)
  const action = { label: 'Open the app', href: '/' }
  const isSignIn = error.code.startsWith('evidence-')
  answerRefusal(exchange, error, {
    action,
    isSandboxed: true,
    ...(isSignIn ? { title: 'This sign-in cannot go on' } : {}),
  })
}

function ignored(): void {}

/** What tells the visits of one browser apart: the beginning of what control knows it by. */
function visitOf(binding: string): string {
  return createHash('sha256').update(binding).digest('hex').slice(0, 8)
}

function forget(name: string): string {
  return `${name}=; ${cookieFlags}; Max-Age=0`
}

function originOf(url: string): string {
  return new URL(url).origin
}
