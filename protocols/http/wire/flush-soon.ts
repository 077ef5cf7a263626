import type { Exchange } from '../wire.ts'

type Unsent = Pick<Exchange, 'flush'>

/** Answers that are sent at the end of this turn, as far as they came. */
const unsent: Unsent[] = []

/** The head of an answer goes with the beginning of its body, where that comes in the same turn. */
export function flushSoon(answer: Unsent): void {
  if (unsent.push(answer) > 1) return
  setImmediate(() => {
    for (const each of unsent.splice(0)) each.flush()
  })
}
