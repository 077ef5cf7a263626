import type { z } from 'zod'
import { issuePersonCertificate } from '../../certs/issue-person.ts'
import type { certificate, certificateIssue } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { lockPerson } from '../people/person-row.ts'
import { conflict, invalid } from '../refusals.ts'

/**
 * Issues a client certificate for a person. Only the request's public key is taken. Rejects with `not-found`, `conflict` for a
 * revoked person, `request-invalid` for a bad request or a life longer than configured.
 */
export async function issueCertificate(
  control: Control,
  actor: Actor,
  personId: string,
  ask: z.output<typeof certificateIssue>,
): Promise<z.output<typeof certificate>> {
  const { realm, demo, clock, keys, settings } = control
  const validForMs = ask.forMs ?? settings.personCertificateMs
  if (validForMs > settings.personCertificateMs) {
    throw invalid(
      `certificates of people are valid for at most ${settings.personCertificateMs / 60_000} minutes`,
      'ask for less; the operator of control can raise the limit',
    )
  }
  return control.state.transaction(async (sql) => {
    // Locked, so that a revocation either sees this certificate or comes first.
    const person = await lockPerson(sql, realm, personId)
    if (person.state !== 'active') {
      throw conflict(`${person.email} is revoked`, 'restore the person first')
    }
    const issued = await issuePersonCertificate(keys.authorities.people, {
      requestPem: ask.requestPem,
      realm,
      personId,
      email: person.email,
      validForMs,
      clock,
      demo,
      beginsAfterMs: person.certificatesValidFromMs,
    })
    await sql.query(
      `insert into certificates (realm, serial, kind, holder_id, issued_at_ms, expires_at_ms)
       values ($1, $2, 'person', $3, $4, $5)`,
      [realm, issued.serial, personId, issued.notBeforeMs, issued.expiresAtMs],
    )
    await appendControlAction(sql, control.chain, actor, {
      action: 'certificate.issued',
      target: issued.serial,
      details: {
        person: person.email,
        personId,
        atMs: nowMs(clock),
        expiresAtMs: issued.expiresAtMs,
      },
    })
    return {
      certificatePem: issued.certificatePem,
      serial: issued.serial,
      expiresAtMs: issued.expiresAtMs,
      serverAuthoritiesPem: keys.authoritiesPem.proxies.join(''),
      controlAuthorityPem: keys.authoritiesPem.control.join(''),
    }
  })
}
