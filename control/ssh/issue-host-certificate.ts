import type { z } from 'zod'
import { issueSshHostCertificate, sshHostValidForMsMax } from '../../certs/issue-ssh-host.ts'
import type { sshHostCertify, sshSessionCertified } from '../api/ssh.ts'
import { appendControlAction } from '../chain/append-action.ts'
import type { Actor, Control } from '../control.ts'
import { notAllowed } from '../refusals.ts'

/**
 * Certifies a proxy's host key for one name. Any name of its group's domain has one, whether there is such a resource or not: who
 * asks learns nothing. Rejects with `not-allowed` outside of the domain, `request-invalid` for a key that is not taken.
 */
export async function issueHostCertificate(
  control: Control,
  proxy: { readonly id: string; readonly name: string; readonly group: string },
  remoteAddress: string,
  ask: z.output<typeof sshHostCertify>,
): Promise<z.output<typeof sshSessionCertified>> {
  const { realm, clock, demo, keys } = control
  return control.state.transaction(async (sql) => {
    const [group] = await sql.query<{ domain: string }>(
      'select domain from proxy_groups where realm = $1 and name = $2',
      [realm, proxy.group],
    )
    const { domain } = group!
    const label = ask.name.slice(0, -domain.length - 1)
    const isWithin = ask.name === `${label}.${domain}` && /^[a-z0-9-]{1,63}$/.test(label)
    if (ask.name !== domain && !isWithin) {
      throw notAllowed(`${ask.name} is no name of ${domain}, the domain of group ${proxy.group}`)
    }
    const issued = await issueSshHostCertificate(keys.sshAuthorities['ssh-hosts'], {
      publicKey: Buffer.from(ask.publicKey, 'base64'),
      ...{ name: ask.name, proxyId: proxy.id, validForMs: sshHostValidForMsMax, clock, demo },
    })
    const actor: Actor = { id: proxy.id, email: `proxy ${proxy.name}`, remoteAddress }
    await appendControlAction(sql, control.chain, actor, {
      action: 'ssh-host.certified',
      target: ask.name,
      details: { serial: issued.serial, expiresAtMs: issued.expiresAtMs },
    })
    return {
      certificate: issued.certificate.toString('base64'),
      expiresAtMs: issued.expiresAtMs,
    }
  })
}
