import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import { closeSessions, openSessions } from './connect.ts'
import { residentKb } from '../process-usage.ts'
import type { Target } from './targets.ts'

const warmSessions = 100
const settleMs = 1_000

/** Resident memory per idle session in kB: what the process in the middle grows by, after a warm-up. */
export async function measureMemory(
  target: Target,
  sessionCount: number,
  clock: Clock,
): Promise<number> {
  const pid = target.pid()
  if (pid === undefined) throw new Error(`${target.name} has no process in the middle`)
  await closeSessions(await openSessions(target.client, warmSessions))
  await sleep(clock, settleMs)
  const beforeKb = residentKb(pid)
  const sessions = await openSessions(target.client, sessionCount)
  try {
    for (const session of sessions) await session.query('select 1')
    await sleep(clock, settleMs)
    return (residentKb(pid) - beforeKb) / sessionCount
  } finally {
    await closeSessions(sessions)
  }
}
