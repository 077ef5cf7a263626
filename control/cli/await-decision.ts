import { sleep } from '../../protocols/kit/clock.ts'
import { formatDuration } from '../api/duration.ts'
import type { AccessRequest } from '../api/request.ts'
import type { Cli } from './cli.ts'
import { isOutage } from './is-outage.ts'
import { printable } from './printable.ts'
import { waitsForText } from './request-words.ts'
import type { ApiWork } from './with-api.ts'

/** Often at first, when an approver may sit at the next desk; then seldom. */
const askAgainMs = { soon: 500, later: 2_000 } as const
const soonMs = 60_000

/**
 * Waits until a request is decided, withdrawn or over, and says who may decide and how long there is. An outage of
 * control is waited out: the request goes on meanwhile.
 */
export async function awaitDecision(
  cli: Cli,
  { api, progress }: ApiWork,
  first: AccessRequest,
): Promise<AccessRequest> {
  const beganMs = cli.clock.monotonicMs()
  let request = first
  let told = 0
  while (request.state === 'pending') {
    const left = formatDuration(request.answerByMs - cli.clock.wallMs())
    progress.update(`waiting for ${waitsForText(request)}; ${left} left`)
    const isSoon = cli.clock.monotonicMs() - beganMs < soonMs
    await sleep(cli.clock, isSoon ? askAgainMs.soon : askAgainMs.later)
    try {
      request = await api.call('request', { params: { id: request.id } })
    } catch (error) {
      if (!isOutage(error)) throw error
      progress.update('control does not answer; still waiting')
    }
    for (const { personEmail, verdict } of request.decisions.slice(told)) {
      told += 1
      const word = verdict === 'approve' ? 'yes' : 'no'
      progress.note(cli.paintNote(`${printable(personEmail)} said ${word}`, 'dim'))
    }
  }
  return request
}
