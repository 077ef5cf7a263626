import { Client, type ClientConfig } from 'pg'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Target, TargetName } from './targets.ts'

/** Opens a session. Losing it later is no error here: that is what some of the benchmarks do. */
export async function openSession(config: ClientConfig): Promise<Client> {
  const client = new Client(config)
  client.on('error', () => undefined)
  await client.connect()
  return client
}

/** Many sessions, a few at a time: a proxy limits how many handshakes one address may have open. */
export async function openSessions(config: ClientConfig, count: number): Promise<Client[]> {
  const sessions: Client[] = []
  const widthMax = 8
  while (sessions.length < count) {
    const width = Math.min(widthMax, count - sessions.length)
    const opened = Array.from({ length: width }, () => openSession(config))
    sessions.push(...(await Promise.all(opened)))
  }
  return sessions
}

export async function closeSessions(sessions: readonly Client[]): Promise<void> {
  await Promise.all(sessions.map((session) => session.end()))
}

/** Milliseconds from the first packet to a session that takes statements: TCP, a full TLS handshake, login. */
export async function measureConnect(
  targets: readonly Target[],
  rounds: number,
  connectsPerRound: number,
  clock: Clock,
): Promise<Map<TargetName, number[]>> {
  const times = new Map<TargetName, number[]>(targets.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round += 1) {
    for (let index = 0; index < connectsPerRound; index += 1) {
      for (const target of targets) {
        const startedMs = clock.monotonicMs()
        const session = await openSession(target.client)
        times.get(target.name)!.push(clock.monotonicMs() - startedMs)
        await session.end()
      }
    }
  }
  return times
}
