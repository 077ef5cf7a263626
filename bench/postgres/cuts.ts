import type { Client } from 'pg'
import type { Duplex } from 'node:stream'
import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import type { SessionView } from '../../control/api/shapes.ts'
import { accountOf, type Stack, type StackPerson } from '../../test/stack.ts'
import { openSessions } from './connect.ts'
import { clientOf } from './targets.ts'

export interface CutSample {
  readonly sessions: number
  /** From the revocation being sent, or the grant's end, to the last byte that any client got; milliseconds. */
  readonly seenByClientsMs: number
  /** The worst of the sessions in the audit: last byte after the order, milliseconds. */
  readonly inTheAuditMs: number
  /** Until the server has none of their backends any more. */
  readonly backendsGoneMs: number
}

/** The longest that a grant which is to end has left when all sessions are open. */
const expiryMs = 4_000
/** It is extended while there is less left than this: enough for a slow answer under load. */
const extendBelowMs = 3_000
const auditMsMax = 60_000
const backendsMsMax = 60_000

/** Sessions in the middle of a statement; the grant is revoked. */
export async function measureRevocation(
  stack: Stack,
  person: StackPerson,
  caPem: string,
  count: number,
  clock: Clock,
): Promise<CutSample> {
  const grant = await stack.grant(person, { forMs: 3_600_000 })
  const sessions = await openSessions(clientOf(stack, person, caPem), count)
  const ended = watchEnds(sessions, clock)
  await sleep(clock, 200)
  const sentAtMs = clock.monotonicMs()
  await stack.api.call('grantRevoke', {
    params: { id: grant.id },
    body: { reason: 'the benchmark revokes it' },
  })
  const lastByteMs = await ended
  const goneAtMs = await backendsGone(stack, clock)
  const views = await closedSessions(stack, grant.id, count, clock)
  return {
    sessions: count,
    seenByClientsMs: lastByteMs - sentAtMs,
    backendsGoneMs: goneAtMs - sentAtMs,
    inTheAuditMs: worstInAudit(views, 'grant-revoked'),
  }
}

/** Sessions in the middle of a statement; the grant ends. */
export async function measureExpiry(
  stack: Stack,
  person: StackPerson,
  caPem: string,
  count: number,
  clock: Clock,
): Promise<CutSample> {
  let grant = await stack.grant(person, { forMs: expiryMs })
  const leftMs = (): number => grant.expiresAtMs - clock.wallMs()
  const opening = openSessions(clientOf(stack, person, caPem), count)
  const allOpen = opening.then(() => true)
  // How long opening takes is not known before: the grant is extended until all are there.
  while (!(await Promise.race([allOpen, sleep(clock, 100).then(() => false)]))) {
    if (leftMs() > extendBelowMs) continue
    grant = await stack.api.call('grantExtend', {
      params: { id: grant.id },
      body: { byMs: expiryMs - extendBelowMs, reason: 'not all sessions are open' },
    })
  }
  const endsAtMs = clock.monotonicMs() + leftMs()
  const lastByteMs = await watchEnds(await opening, clock)
  const goneAtMs = await backendsGone(stack, clock)
  const views = await closedSessions(stack, grant.id, count, clock)
  return {
    sessions: count,
    seenByClientsMs: lastByteMs - endsAtMs,
    inTheAuditMs: worstInAudit(views, 'grant-expired', grant.expiresAtMs),
    backendsGoneMs: goneAtMs - endsAtMs,
  }
}

/** Starts a long statement in each session. Resolves, when all are gone, with the moment of the last byte any of them got. */
async function watchEnds(sessions: readonly Client[], clock: Clock): Promise<number> {
  let lastByteMs = 0
  const ends = sessions.map((session) => {
    const { stream } = (session as unknown as { connection: { stream: Duplex } }).connection
    stream.on('data', () => (lastByteMs = clock.monotonicMs()))
    const gone = new Promise<void>((resolve) => session.once('end', () => resolve()))
    const refused = session.query('select pg_sleep(600)').then(
      () => Promise.reject(new Error('the statement ended by itself')),
      (error: unknown) => requireFarewell(error),
    )
    return Promise.all([gone, refused])
  })
  await Promise.all(ends)
  return lastByteMs
}

/** A cut says so: FATAL 57P01 (or the connection is gone before the farewell came through). */
function requireFarewell(error: unknown): void {
  const { code, message } = error as { code?: string; message: string }
  if (code !== '57P01' && !message.includes('Connection terminated')) {
    throw new Error(`not a cut: ${code} ${message}`)
  }
}

/** When the server has no backend of the account any more. */
async function backendsGone(stack: Stack, clock: Clock): Promise<number> {
  const deadlineMs = clock.monotonicMs() + backendsMsMax
  const server = await stack.cluster.superuser()
  try {
    for (;;) {
      const { rows } = await server.query<{ count: number }>(
        'select count(*)::int as count from pg_stat_activity where usename = $1',
        [accountOf('read')],
      )
      if (rows[0]!.count === 0) return clock.monotonicMs()
      if (clock.monotonicMs() > deadlineMs)
        throw new Error(`${rows[0]!.count} backends stay behind`)
      await sleep(clock, 20)
    }
  } finally {
    await server.end()
  }
}

async function closedSessions(
  stack: Stack,
  grant: string,
  count: number,
  clock: Clock,
): Promise<SessionView[]> {
  const deadlineMs = clock.monotonicMs() + auditMsMax
  for (;;) {
    const { items } = await stack.api.call('sessions', {
      query: { grant, state: 'closed', limit: 1_000 },
    })
    if (items.length >= count) return items
    if (clock.monotonicMs() > deadlineMs) {
      throw new Error(`the audit has ${items.length} of ${count} closed sessions`)
    }
    await sleep(clock, 100)
  }
}

/** Throws if a session was not cut for this reason, or its last byte is not known. */
function worstInAudit(views: readonly SessionView[], reason: string, dueAtMs?: number): number {
  const lateMs = views.map(({ id, cut }) => {
    if (cut === null || cut.reason !== reason || cut.lastByteAtMs === null) {
      throw new Error(`session ${id} was not cut with ${reason}: ${JSON.stringify(cut)}`)
    }
    return cut.lastByteAtMs - (dueAtMs ?? cut.orderedAtMs)
  })
  return Math.max(...lateMs)
}
