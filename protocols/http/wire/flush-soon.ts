import type { Exchange } from '../wire.ts'

/** Answers that are sent at the end of this turn, as far as they came. */
const unsent: Exchange[] = []

/** The head of an answer goes with the beginning of its body, where that comes in the same turn. */
export function flushSoon(exchange: Exchange): void {
  if (unsent.push(exchange) > 1) return
  setImmediate(() => {
    for (const each of unsent.splice(0)) if (!each.isOver) each.flush()
  })
}
