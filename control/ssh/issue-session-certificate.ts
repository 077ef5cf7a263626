import type { z } from 'zod'
import { issueSshSessionCertificate, type SshPermission } from '../../certs/issue-ssh-session.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Level } from '../api/names.ts'
import type { Resource } from '../api/resource.ts'
import type { sshSessionCertified, sshSessionCertify } from '../api/ssh.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { sourceAddressesOf } from './source-addresses.ts'

const validForMs = 5 * 60_000

interface Facts {
  readonly personId: string
  readonly personEmail: string
  readonly personState: 'active' | 'revoked'
  readonly resource: string
  readonly level: Level
  readonly expiresAtMs: number
  readonly revokedAtMs: number | null
  readonly definition: Resource | null
  readonly sourceAddresses: string[]
}

/** What a certificate is for: one account, and what its server lets the session do. */
interface Login {
  readonly account: string
  readonly permissions: readonly SshPermission[]
}

/**
 * Certifies the key with which a proxy logs in to a server for one session. Of what the proxy says only the key and the ids are taken:
 * person, resource, level and account are the grant's and the resource's, as they are now. Rejects with `access-denied`, the same for every
 * cause, or `request-invalid` for a key that is not taken.
 */
export async function issueSessionCertificate(
  control: Control,
  proxy: { readonly id: string; readonly name: string; readonly group: string },
  remoteAddress: string,
  ask: z.output<typeof sshSessionCertify>,
): Promise<z.output<typeof sshSessionCertified>> {
  const { realm, clock, demo, keys } = control
  return control.state.transaction(async (sql) => {
    // Held to the commit, so that a revocation comes before this certificate or knows of it.
    const [facts] = await sql.query<Facts>(
      `select g.person_id as "personId", p.email as "personEmail", p.state as "personState",
         g.resource, g.level, g.expires_at_ms as "expiresAtMs", g.revoked_at_ms as "revokedAtMs",
         r.definition, o.ssh_source_addresses as "sourceAddresses"
       from grants g
       join people p on p.realm = g.realm and p.id = g.person_id
       join proxy_groups o on o.realm = g.realm and o.name = g.group_name
       left join resources r
         on r.realm = g.realm and r.name = g.resource and r.group_name = g.group_name
       where g.realm = $1 and g.id = $2 and g.group_name = $3 for share of g`,
      [realm, ask.grantId, proxy.group],
    )
    const atMs = nowMs(clock)
    if (facts === undefined) throw denied(`the group ${proxy.group} has no grant ${ask.grantId}`)
    if (facts.personState !== 'active') throw denied(`${facts.personEmail} is revoked`)
    if (facts.revokedAtMs !== null || facts.expiresAtMs <= atMs) {
      throw denied(`grant ${ask.grantId} has ended`)
    }
    const login = loginOf(facts, ask.of)
    const sources =
      facts.sourceAddresses.length > 0 ? facts.sourceAddresses : sourceAddressesOf(remoteAddress)
    const issued = await issueSshSessionCertificate(keys.sshAuthorities['ssh-upstream'], {
      publicKey: Buffer.from(ask.publicKey, 'base64'),
      ...{ ...login, clock, demo, personEmail: facts.personEmail },
      ...{ sessionId: ask.sessionId, grantId: ask.grantId, sourceAddresses: sources },
      validForMs: Math.min(validForMs, facts.expiresAtMs - atMs),
    })
    const actor: Actor = { id: proxy.id, email: `proxy ${proxy.name}`, remoteAddress }
    await appendControlAction(sql, control.chain, actor, {
      action: 'ssh-session.certified',
      target: ask.sessionId,
      details: {
        ...{ grantId: ask.grantId, person: facts.personEmail, resource: facts.resource },
        ...{ level: facts.level, of: ask.of, account: login.account, serial: issued.serial },
        ...{ sourceAddresses: sources, expiresAtMs: issued.expiresAtMs },
      },
    })
    return {
      certificate: issued.certificate.toString('base64'),
      expiresAtMs: issued.expiresAtMs,
    }
  })
}

function loginOf({ definition, level, resource }: Facts, of: 'resource' | 'bastion'): Login {
  const ssh = definition?.ssh
  const offered = definition?.levels[level]
  if (definition?.protocol !== 'ssh' || ssh === undefined || offered === undefined) {
    throw denied(`${resource} offers ${level} by SSH no more`)
  }
  if (of === 'bastion') {
    const { bastion } = ssh
    if (bastion?.secret.startsWith('certificate:') !== true) {
      throw denied(`${resource} has no bastion that takes certificates`)
    }
    return { account: bastion.account, permissions: ['permit-port-forwarding'] }
  }
  if (!offered.secret.startsWith('certificate:')) {
    throw denied(`${resource} takes no certificates at ${level}`)
  }
  const tunnels = ssh.tunnels.some((tunnel) => tunnel.levels.includes(level))
  const agent = ssh.agentForwarding.includes(level)
  return {
    account: offered.account,
    permissions: [
      'permit-pty',
      ...(tunnels ? (['permit-port-forwarding'] as const) : []),
      ...(agent ? (['permit-agent-forwarding'] as const) : []),
    ],
  }
}

function denied(why: string): SallyportError {
  return new SallyportError('access-denied', `no session certificate: ${why}`, {
    clientMessage: 'no certificate is issued for this session',
    hint: 'the operator of control can see the reason in its log',
  })
}
