import type { Cut } from '../../session.ts'
import { answerCut } from '../downstream/refusal-words.ts'
import type { Admitted } from './admitted.ts'

/**
 * Answers a request that is cut before its answer began. The answer is our own: the session, which `detach` parts it from, does not wait for a
 * client that sends on, or is slow to take it.
 */
export function tellCut(
  { exchange, asked, held, host }: Admitted,
  cut: Cut,
  detach: () => void,
): void {
  answerCut(exchange, cut, asked, held)
  detach()
  const deadline = host.clock.startTimer(host.limits.lingerMs, () => exchange.abandon())
  exchange.onClose(() => deadline.cancel())
}
