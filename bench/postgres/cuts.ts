import type { Client } from 'pg'
import type { Duplex } from 'node:stream'
import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import type { SessionView } from '../../control/api/shapes.ts'
import type { Stack, StackPerson } from '../../test/stack.ts'
import { openSessions } from './connect.ts'
import { clientOf } from './targets.ts'

export interface CutSample {
  readonly sessions: number
  /** From the revocation being sent, or the grant's end, to the last byte that any client got; milliseconds. */
  readonly seenByClientsMs: number
  /** The worst of the sessions in the audit: last byte after the order, milliseconds. */
  readonly inTheAuditMs: number
}

const auditMsMax = 60_000

/** Sessions in the middle of a statement; the grant is revoked. */
export async function measureRevocation(
  stack: Stack,
  person: StackPerson,
  caPem: string,
  count: number,
  clock: Clock,
): Promise<CutSample & { openMs: number }> {
  const grant = await stack.grant(person, { forMs: 3_600_000 })
  const startedMs = clock.monotonicMs()
  const sessions = await openSessions(clientOf(stack, person, caPem), count)
  const openMs = clock.monotonicMs() - startedMs
  const ended = watchEnds(sessions, clock)
  await sleep(clock, 200)
  const sentAtMs = clock.monotonicMs()
  await stack.api.call('grantRevoke', {
    params: { id: grant.id },
    body: { reason: 'the benchmark revokes it' },
  })
  const lastByteMs = await ended
  const views = await closedSessions(stack, grant.id, count, clock)
  return {
    sessions: count,
    seenByClientsMs: lastByteMs - sentAtMs,
    inTheAuditMs: worstInAudit(views, 'grant-revoked'),
    openMs,
  }
}

/** Sessions in the middle of a statement; the grant ends. */
export async function measureExpiry(
  stack: Stack,
  person: StackPerson,
  caPem: string,
  count: number,
  forMs: number,
  clock: Clock,
): Promise<CutSample> {
  const grant = await stack.grant(person, { forMs })
  const endsAtMs = clock.monotonicMs() + (grant.expiresAtMs - clock.wallMs())
  const sessions = await openSessions(clientOf(stack, person, caPem), count)
  if (clock.monotonicMs() > endsAtMs - 500) throw new Error('the grant ended before all were open')
  const lastByteMs = await watchEnds(sessions, clock)
  const views = await closedSessions(stack, grant.id, count, clock)
  const worst = worstInAudit(views, 'grant-expired', grant.expiresAtMs)
  return { sessions: count, seenByClientsMs: lastByteMs - endsAtMs, inTheAuditMs: worst }
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
