import type { z } from 'zod'
import { issuePersonCertificate } from '../../certs/issue-person.ts'
import type { certificate, certificateIssue } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { lockPerson, type PersonRow } from '../people/person-row.ts'
import { conflict, invalid } from '../refusals.ts'
import type { Sql } from '../store/store.ts'

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
  const { realm, clock, settings } = control
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
    const { requestPem } = ask
    const issued = await issueForPerson(sql, control, person, { requestPem, validForMs })
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
    return issued
  })
}

/** Issues and keeps one for a person who is locked and active. Chain and feed are the caller's. */
export async function issueForPerson(
  sql: Sql,
  { realm, demo, clock, keys }: Control,
  person: PersonRow,
  /** `loginId`: the sign-in that it ends with. */
  ask: { requestPem: string; validForMs: number; loginId?: string },
): Promise<z.output<typeof certificate>> {
  const issued = await issuePersonCertificate(keys.authorities.people, {
    requestPem: ask.requestPem,
    realm,
    personId: person.id,
    email: person.email,
    validForMs: ask.validForMs,
    clock,
    demo,
    beginsAfterMs: person.certificatesValidFromMs,
  })
  await sql.query(
    `insert into certificates (realm, serial, kind, holder_id, issued_at_ms, expires_at_ms, login_id)
     values ($1, $2, 'person', $3, $4, $5, $6)`,
    [
      ...[realm, issued.serial, person.id, issued.notBeforeMs, issued.expiresAtMs],
      ask.loginId ?? null,
    ],
  )
  return {
    certificatePem: issued.certificatePem,
    serial: issued.serial,
    expiresAtMs: issued.expiresAtMs,
    serverAuthoritiesPem: keys.authoritiesPem.proxies.join(''),
    controlAuthorityPem: keys.authoritiesPem.control.join(''),
  }
}
