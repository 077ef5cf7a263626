import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import type { Grant, SessionView } from '../../control/api/shapes.ts'
import type { Stack } from '../../test/stack.ts'
import { closeSessions, openSessions } from './connect.ts'
import type { Target } from './targets.ts'

export interface Completeness {
  readonly sent: number
  readonly stored: number
  readonly missing: number
  readonly duplicated: number
}

const width = 16
const text = 'select $1::int8 as number'
const storedMsMax = 120_000

/** Sends statements with a number each and looks every one of them up in control's store. */
export async function measureSearch(
  stack: Stack,
  target: Target,
  grant: Grant,
  count: number,
  clock: Clock,
): Promise<Completeness> {
  const sessions = await openSessions(target.client, width)
  await Promise.all(
    sessions.map(async (session, index) => {
      for (let number = index; number < count; number += width) {
        const { rows } = await session.query<{ number: string }>({
          name: 'numbered',
          text,
          values: [number],
        })
        if (Number(rows[0]?.number) !== number) throw new Error('not our number')
      }
    }),
  )
  await closeSessions(sessions)
  await untilIndexed(stack, clock)
  const seen = new Map<number, number>()
  let cursor: string | undefined
  do {
    const page = await stack.api.call('auditSearch', {
      query: {
        person: grant.personEmail,
        text,
        limit: 1_000,
        ...(cursor === undefined ? {} : { cursor }),
      },
    })
    for (const { parameters, outcome } of page.items) {
      const [parameter] = parameters
      if (parameter?.form !== 'text') throw new Error('a statement without its parameter')
      if (outcome?.status !== 'ok' || outcome.rows !== 1) throw new Error('a wrong outcome')
      const number = Number(parameter.value)
      seen.set(number, (seen.get(number) ?? 0) + 1)
    }
    cursor = page.next ?? undefined
  } while (cursor !== undefined)
  const times = [...seen.values()]
  return {
    sent: count,
    stored: times.reduce((sum, each) => sum + each, 0),
    missing: count - seen.size,
    duplicated: times.filter((each) => each > 1).length,
  }
}

/** Waits until control has stored and indexed all there is, and returns how many entries that is. */
export async function untilIndexed(stack: Stack, clock: Clock): Promise<number> {
  const deadlineMs = clock.monotonicMs() + storedMsMax
  let before = -1
  for (;;) {
    const { proxies } = await stack.api.call('auditStatus')
    const sum = (of: (proxy: (typeof proxies)[number]) => number): number =>
      proxies.reduce((total, proxy) => total + of(proxy), 0)
    const received = sum((proxy) => proxy.entriesReceived)
    if (sum((proxy) => proxy.quarantined) > 0) throw new Error('something is in quarantine')
    if (received === before && received === sum((proxy) => proxy.entriesIndexed)) return received
    if (clock.monotonicMs() > deadlineMs) throw new Error('control is still indexing')
    before = received
    await sleep(clock, 200)
  }
}

/** Statements that control has for all sessions under a grant; waits until every one of them is closed there. */
export async function statementsStored(
  stack: Stack,
  grant: Grant,
  clock: Clock,
): Promise<{ sessions: number; statements: number }> {
  const deadlineMs = clock.monotonicMs() + storedMsMax
  for (;;) {
    const views = await sessionsOf(stack, grant)
    if (views.every((view) => view.state === 'closed')) {
      const statements = views.reduce((sum, view) => sum + view.statements, 0)
      return { sessions: views.length, statements }
    }
    if (clock.monotonicMs() > deadlineMs) throw new Error('sessions are still open in control')
    await sleep(clock, 200)
  }
}

async function sessionsOf(stack: Stack, grant: Grant): Promise<SessionView[]> {
  const views: SessionView[] = []
  let cursor: string | undefined
  do {
    const page = await stack.api.call('sessions', {
      query: { grant: grant.id, limit: 1_000, ...(cursor === undefined ? {} : { cursor }) },
    })
    views.push(...page.items)
    cursor = page.next ?? undefined
  } while (cursor !== undefined)
  return views
}
