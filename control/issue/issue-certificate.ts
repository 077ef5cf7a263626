import type { z } from 'zod'
import { issuePersonCertificate } from '../../certs/issue-person.ts'
import { issueSshPersonCertificate } from '../../certs/issue-ssh-person.ts'
import { sshPublicKeyLine } from '../../protocols/kit/ssh-public-key.ts'
import type { certificate, certificateIssue } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { lockPerson, type PersonRow } from '../people/person-row.ts'
import { conflict, invalid } from '../refusals.ts'
import { openSshKey } from '../ssh/open-ssh-key.ts'
import { reachesResources } from '../ssh/reaches-resources.ts'
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
    const { requestPem, sshPublicKey } = ask
    const issued = await issueForPerson(sql, control, person, {
      ...{ requestPem, validForMs, sshPublicKey },
    })
    await appendControlAction(sql, control.chain, actor, {
      action: 'certificate.issued',
      target: issued.serial,
      details: {
        person: person.email,
        personId,
        atMs: nowMs(clock),
        expiresAtMs: issued.expiresAtMs,
        ...sshDetails(issued),
      },
    })
    return issued
  })
}

/**
 * Issues and keeps one for a person who is locked and active, and one for their SSH key if they gave it and may reach anything. Chain and
 * feed are the caller's.
 */
export async function issueForPerson(
  sql: Sql,
  { realm, demo, clock, keys }: Control,
  person: PersonRow,
  /** `login`: the sign-in that it ends with. */
  ask: {
    requestPem: string
    sshPublicKey: string | undefined
    validForMs: number
    login?: { readonly id: string; readonly endsAtMs: number }
  },
): Promise<z.output<typeof certificate>> {
  const content = {
    ...{ realm, personId: person.id, email: person.email, validForMs: ask.validForMs },
    ...{ clock, demo, beginsAfterMs: person.certificatesValidFromMs },
    ...(ask.login === undefined ? {} : { endsByMs: ask.login.endsAtMs }),
  }
  const issued = await issuePersonCertificate(keys.authorities.people, {
    ...content,
    requestPem: ask.requestPem,
  })
  const ssh =
    ask.sshPublicKey === undefined || !reachesResources(person.roles)
      ? undefined
      : await issueSshPersonCertificate(keys.sshAuthorities['ssh-people'], {
          ...content,
          publicKey: openSshKey(ask.sshPublicKey).blob,
        })
  for (const { serial, notBeforeMs, expiresAtMs } of ssh === undefined ? [issued] : [issued, ssh]) {
    await sql.query(
      `insert into certificates (realm, serial, kind, holder_id, issued_at_ms, expires_at_ms, login_id,
         issued_with) values ($1, $2, 'person', $3, $4, $5, $6, $7)`,
      [
        ...[realm, serial, person.id, notBeforeMs, expiresAtMs, ask.login?.id ?? null],
        serial === issued.serial ? null : issued.serial,
      ],
    )
  }
  return {
    certificatePem: issued.certificatePem,
    serial: issued.serial,
    expiresAtMs: issued.expiresAtMs,
    serverAuthoritiesPem: keys.authoritiesPem.proxies.join(''),
    controlAuthorityPem: keys.authoritiesPem.control.join(''),
    ...(ssh === undefined
      ? {}
      : {
          ssh: {
            certificate: sshPublicKeyLine(ssh.certificate),
            serial: ssh.serial,
            expiresAtMs: ssh.expiresAtMs,
          },
        }),
    sshHostAuthorities: [...keys.sshAuthorityLines['ssh-hosts']],
  }
}

/** What the chain says of the certificate for SSH. */
export function sshDetails({ ssh }: Pick<z.output<typeof certificate>, 'ssh'>) {
  return ssh === undefined ? {} : { sshSerial: ssh.serial }
}
