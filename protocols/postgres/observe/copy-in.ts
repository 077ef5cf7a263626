import { takeBack } from './failures.ts'
import type { Ledger } from './ledger.ts'
import { asked } from './ring.ts'

/**
 * The server reads copy data for the oldest question from now on. It ignores every Sync up to the end of the copy, also
 * those that were sent before it said so; any other message is an error of the copy, which swallows it.
 *
 * Source: CopyGetData in src/backend/commands/copyfromparse.c.
 */
export function startCopyIn(ledger: Ledger): void {
  const { ring } = ledger
  const isQuery = ring.kind(ring.head) === asked.query
  for (let position = ring.head + 1; position < ring.tail; position++) {
    switch (ring.kind(position)) {
      case asked.gone:
        break
      case asked.sync:
        ring.takeBack(position)
        break
      case asked.copyEnd:
        ring.takeBack(position)
        return
      default:
        // After an Execute the error skips it with the rest; after a Query only this one is lost.
        if (isQuery) takeBack(ledger, position)
        return
    }
  }
  ledger.copyingIn = true
}
