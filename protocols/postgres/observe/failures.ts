/** What an ErrorResponse means for the questions that are open. */
import type { Ledger } from './ledger.ts'
import { asked } from './ring.ts'

/** The end of the implicit transaction failed: the statement before it did not last. */
export function failCommit(ledger: Ledger, code: string, text: string): void {
  if (ledger.deferredId < 0) return
  const { outcome } = ledger
  outcome.status = 'error'
  outcome.errorCode = code
  outcome.errorText = text
  ledger.flushDeferred()
}

/** A step of the extended protocol failed: the server skips everything up to the next Sync. */
export function failStretch(ledger: Ledger, code: string, text: string): void {
  const { ring } = ledger
  blame(ledger, code, text)
  if (ring.kind(ring.head) === asked.parse) {
    // The server dropped the unnamed statement before it looked at the new one.
    const { slot } = ring.statement(ring.head)!
    if (slot === ledger.statements.unnamed) ledger.closeStatement(slot)
  }
  do takeBackOldest(ledger)
  while (!ring.empty && ring.kind(ring.head) !== asked.sync)
  ledger.skipping = ring.empty
  ledger.copyingIn = false
}

/** The server ends the connection: what ran failed, what waited will not run. `kind` is the oldest question's. */
export function failConnection(ledger: Ledger, kind: number, code: string, text: string): void {
  const { ring } = ledger
  if (kind === asked.query || kind === asked.functionCall)
    settleError(ledger, ring.head, code, text)
  else if (kind === asked.sync) failCommit(ledger, code, text)
  else if (kind !== 0) blame(ledger, code, text)
  while (!ring.empty) takeBackOldest(ledger)
  ledger.skipping = true
}

/** The server will not answer this question any more: what it would have run is skipped, what it named is not named. */
export function takeBack(ledger: Ledger, position: number): void {
  const { ring } = ledger
  switch (ring.kind(position)) {
    case asked.parse: {
      const statement = ring.statement(position)!
      ledger.answeredStatement(statement.slot)
      ledger.releaseStatement(statement)
      break
    }
    case asked.bind: {
      const portal = ring.portal(position)!
      ledger.answeredPortal(portal.slot)
      ledger.releasePortal(portal)
      break
    }
    case asked.closeStatement: {
      const slot = ring.statementSlot(position)
      if (slot !== undefined) ledger.answeredStatement(slot)
      break
    }
    case asked.closePortal: {
      const slot = ring.portalSlot(position)
      if (slot !== undefined) ledger.answeredPortal(slot)
      break
    }
    case asked.execute:
    case asked.query:
    case asked.functionCall:
      ledger.settleSkipped(ring.id(position))
      break
    default:
      break
  }
  ring.takeBack(position)
}

function takeBackOldest(ledger: Ledger): void {
  takeBack(ledger, ledger.ring.head)
  ledger.ring.pop()
}

function settleError(ledger: Ledger, position: number, code: string, text: string): void {
  const { ring } = ledger
  const bytesUp = ring.bytesUp(position)
  ledger.settleError(ring.id(position), ring.startedMs(position), bytesUp, code, text)
  ring.takeBack(position)
}

/**
 * Settles the statement that an error of the oldest question is about: an Execute itself, or the first Execute of what a Parse,
 * Bind or Describe was for. Where nobody executes it, the step that failed gets a record of its own.
 */
function blame(ledger: Ledger, code: string, text: string): void {
  const { ring } = ledger
  const { head } = ring
  const position = ring.kind(head) === asked.execute ? head : executeOf(ledger, head)
  if (position >= 0) {
    settleError(ledger, position, code, text)
    return
  }
  const statement = ring.statement(head)
  const portal = ring.portal(head)
  if (statement === undefined && portal === undefined) return
  const source = ledger.prepareSource
  source.statement = statement ?? portal?.statement
  source.portal = portal
  const id = ledger.report(source)
  source.statement = source.portal = undefined
  ledger.settleError(id, ring.startedMs(head), 0, code, text)
}

/** The first Execute before the next Sync of what the question at `head` prepares; -1 for none. */
function executeOf(ledger: Ledger, head: number): number {
  const { ring } = ledger
  const statement = ring.statement(head)
  const portal = ring.portal(head)
  for (let position = head + 1; position < ring.tail; position++) {
    const kind = ring.kind(position)
    if (kind === asked.sync) break
    if (kind !== asked.execute) continue
    if (portal !== undefined) {
      if (ring.portal(position) === portal) return position
    } else if (statement !== undefined && ring.statement(position) === statement) {
      return position
    }
  }
  return -1
}
