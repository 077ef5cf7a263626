/** Answers a proxy that asks whether a session may be opened. */
import { nowMs, type Control } from '../control.ts'
import { acceptApiToken } from './accept-api-token.ts'
import { redeemConnectToken } from './redeem.ts'
import {
  objection,
  readSessionFacts,
  type Question,
  type SessionFacts,
  type Verdict,
  type Why,
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
    if (asked.apiToken !== undefined)
      return await acceptApiToken(control, proxy, asked, asked.apiToken)
    const facts = await readSessionFacts(state, realm, asked, atMs, proxy.proxyId)
    const evidence = evidenceObjection(facts, asked, atMs)
    const why = objection(facts, asked, proxy.group, atMs, evidence)
    const { position } = facts
    return why === undefined
      ? { kind: 'confirmed', requestId, token: facts.token!, position, controlTimeMs: atMs }
      : { kind: 'denied', requestId, why, position, controlTimeMs: atMs }
  } catch (error) {
    log.error({ error: String(error), sessionId: asked.sessionId }, 'a confirmation failed')
    return { kind: 'denied', requestId, why: 'error', position: 0, controlTimeMs: atMs }
  }
}

/** A person is identified by exactly one thing: who shows two has none looked at. */
function evidenceObjection(facts: SessionFacts, asked: Question, atMs: number): Why | undefined {
  const { certificateSerial, keyFingerprint, loginId, browserSignInId } = asked
  const all = [certificateSerial, keyFingerprint, loginId, browserSignInId]
  const shown = all.filter((one) => one !== undefined)
  if (shown.length > 1) return 'certificate-revoked'
  if (keyFingerprint !== undefined) return keyCounts(facts, asked, atMs) ? undefined : 'key-removed'
  if (loginId !== undefined) return loginCounts(facts, asked, atMs) ? undefined : 'login-ended'
  if (browserSignInId !== undefined) {
    return browserCounts(facts, asked, atMs) ? undefined : 'browser-signed-out'
  }
  return certificateCounts(facts, asked, atMs) ? undefined : 'certificate-revoked'
}

/** The row is only there for a key that is registered now. */
function keyCounts(facts: SessionFacts, asked: Question, atMs: number): boolean {
  return facts.keyPerson === asked.personId && facts.keyExpiresAtMs! > atMs
}

function loginCounts(facts: SessionFacts, asked: Question, atMs: number): boolean {
  return (
    facts.loginPerson === asked.personId &&
    facts.loginEndedAtMs === null &&
    facts.loginEndsAtMs! > atMs &&
    facts.loginBegunAtMs! >= facts.personValidFromMs!
  )
}

/** Traded for a cookie, for this app and this grant, of a sign-in that is not over. */
function browserCounts(facts: SessionFacts, asked: Question, atMs: number): boolean {
  return (
    facts.browserPerson === asked.personId &&
    facts.browserResource === asked.resource &&
    facts.browserGrant === asked.grantId &&
    facts.browserUsedAtMs !== null &&
    facts.browserEndedAtMs === null &&
    facts.browserExpiresAtMs! > atMs &&
    facts.browserBegunAtMs! >= facts.personValidFromMs!
  )
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
