/** Answers a proxy that asks whether a session may be opened. */
import { nowMs, type Control } from '../control.ts'
import { redeemConnectToken } from './redeem.ts'
import {
  objection,
  readSessionFacts,
  type Question,
  type SessionFacts,
  type Verdict,
} from './session-facts.ts'

export interface AskingProxy {
  readonly proxyId: string
  readonly group: string
}

/** Never rejects: what goes wrong is a denial, for an error is not an outage. */
export async function confirm(
  control: Control,
  proxy: AskingProxy,
  asked: Question,
): Promise<Verdict> {
  const { realm, state, clock, log } = control
  const { requestId } = asked
  const atMs = nowMs(clock)
  try {
    if (asked.connectToken !== undefined) {
      return await redeemConnectToken(control, proxy, asked, asked.connectToken)
    }
    const facts = await readSessionFacts(state, realm, asked, atMs)
    const counts = certificateCounts(facts, asked, atMs)
    const why = objection(facts, asked, proxy.group, atMs, counts)
    const { position } = facts
    return why === undefined
      ? { kind: 'confirmed', requestId, token: facts.token!, position, controlTimeMs: atMs }
      : { kind: 'denied', requestId, why, position, controlTimeMs: atMs }
  } catch (error) {
    log.error({ error: String(error), sessionId: asked.sessionId }, 'a confirmation failed')
    return { kind: 'denied', requestId, why: 'error', position: 0, controlTimeMs: atMs }
  }
}

/** A certificate that control does not know does not count, whoever seems to have signed it. */
function certificateCounts(facts: SessionFacts, asked: Question, atMs: number): boolean {
  return (
    asked.certificateSerial !== undefined &&
    facts.certificateHolder === asked.personId &&
    facts.certificateRevokedAtMs === null &&
    facts.certificateExpiresAtMs! > atMs &&
    facts.certificateIssuedAtMs! >= facts.personValidFromMs!
  )
}
