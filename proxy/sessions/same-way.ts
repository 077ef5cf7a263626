import type { Resource } from '../../control/api/resource.ts'
import type { Level, SshTerms } from '../../protocols/session.ts'
import { httpTermsOf } from './http-terms.ts'
import { keepsHttpTerms } from './keeps-http-terms.ts'
import { sshTermsOf } from './ssh-terms.ts'

/**
 * Whether a session may go on as it was after its resource changed: same place, same account, same secret, still the servers that it
 * trusts, and nothing taken away of what it was let do. A session keeps the terms that it began with, so what is newly allowed waits
 * for the next one, and what is no longer allowed ends it.
 */
export function isSameWay(before: Resource, after: Resource, level: Level): boolean {
  return (
    wayOf(before, level) === wayOf(after, level) &&
    keepsTrust(before, after) &&
    keepsTerms(sshTermsOf(before, level), sshTermsOf(after, level)) &&
    keepsHttpTerms(httpTermsOf(before), httpTermsOf(after))
  )
}

function wayOf(resource: Resource, level: Level): string {
  const { protocol, group, address, tls, levels, ssh } = resource
  return JSON.stringify([
    protocol,
    group,
    address.host,
    address.port,
    tls.mode,
    tls.serverName,
    levels[level]?.account,
    levels[level]?.secret,
    ssh?.bastion?.host,
    ssh?.bastion?.port,
    ssh?.bastion?.account,
    ssh?.bastion?.secret,
  ])
}

/** Which of a server's keys this session saw is not known here: any that is withdrawn may be the one. */
function keepsTrust({ ssh: before }: Resource, { ssh: after }: Resource): boolean {
  const pairs = [
    [before?.hostKeys, after?.hostKeys],
    [before?.hostAuthorities, after?.hostAuthorities],
    [before?.bastion?.hostKeys, after?.bastion?.hostKeys],
    [before?.bastion?.hostAuthorities, after?.bastion?.hostAuthorities],
  ] as const
  return pairs.every(([had, has]) => includesAll(has, had))
}

function keepsTerms(before: SshTerms | undefined, after: SshTerms | undefined): boolean {
  if (before === undefined || after === undefined) return before === after
  return (
    (after.agentForwarding || !before.agentForwarding) &&
    includesAll(after.tunnels.map(textOf), before.tunnels.map(textOf)) &&
    // Less denied, or more allowed, takes nothing away.
    includesAll(before.deny, after.deny) &&
    (after.allow === undefined ||
      (before.allow !== undefined && includesAll(after.allow, before.allow))) &&
    (before.recordInput || !after.recordInput) &&
    before.streamBytesMax >= after.streamBytesMax
  )
}

const textOf = (tunnel: object): string => JSON.stringify(tunnel)

function includesAll(all: readonly string[] = [], some: readonly string[] = []): boolean {
  return some.every((each) => all.includes(each))
}
