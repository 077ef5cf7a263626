/** Writes down what nobody answered. Such a request counts as expired from its moment on, written down or not. */
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Control } from '../control.ts'
import type { KeptRequest } from './access-request.ts'
import { expire } from './decide.ts'
import { requestColumns, updateRequest } from './request-row.ts'

const atOnce = 50
const everyMs = 5_000

/** Records those that are due, each once over all replicas. Returns how many there were. */
export async function expireRequests(control: Control): Promise<number> {
  const { realm, chain, clock } = control
  let total = 0
  for (;;) {
    const count = await control.state.transaction(async (sql) => {
      const due = await sql.query<KeptRequest>(
        `select ${requestColumns} from requests
         where realm = $1 and state = 'pending' and answer_by_ms <= $2
         order by answer_by_ms limit ${atOnce} for update skip locked`,
        [realm, nowMs(clock)],
      )
      const expired = due.flatMap((row) => expire(row, nowMs(clock)) ?? [])
      for (const request of expired) await updateRequest(sql, realm, request)
      for (const request of expired) {
        await appendControlAction(
          sql,
          chain,
          { id: '', email: 'control', remoteAddress: '' },
          {
            action: 'request.expired',
            target: request.id,
            details: {
              kind: request.kind,
              person: request.personEmail,
              resource: request.resource,
              level: request.level,
              answerByMs: request.answerByMs,
              flow: request.flow.name,
              flowsVersion: request.flowsVersion,
            },
          },
        )
      }
      return due.length
    })
    total += count
    if (count < atOnce) return total
  }
}

/** Looks again and again, for as long as the process runs. Returns how to stop. */
export function keepExpiring(control: Control): () => void {
  const { clock, log } = control
  let stopped = false
  const arm = () =>
    clock.startTimer(everyMs, () => {
      expireRequests(control)
        .catch((error: unknown) =>
          log.warn({ error: String(error) }, 'unanswered requests were not recorded'),
        )
        .finally(() => {
          if (!stopped) timer = arm()
        })
    })
  let timer = arm()
  return () => {
    stopped = true
    timer.cancel()
  }
}
