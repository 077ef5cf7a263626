import type { z } from 'zod'
import type { proxyGroup } from '../../api/shapes.ts'
import type { Control } from '../../control.ts'
import { createJoinToken } from '../../issue/join-token.ts'
import { changeGroup } from '../../issue/change-group.ts'
import { createGroup } from '../../issue/create-group.ts'
import { joinProxy, renewProxy } from '../../issue/join-proxy.ts'
import { revokeProxy } from '../../issue/revoke-proxy.ts'
import { actorOf } from '../actor-of.ts'
import { readProxyPresence, type ConnectedProxies } from '../connected-proxies.ts'
import type { Handlers } from '../handlers.ts'

type ProxyRoute =
  | 'groups'
  | 'groupCreate'
  | 'groupChange'
  | 'joinToken'
  | 'proxyRevoke'
  | 'proxyJoin'
  | 'proxyRenew'

/** `countJoin` is told of every attempt to join, and throws when there are too many. */
export function proxyHandlers(
  control: Control,
  countJoin: (address: string) => void,
  proxies: Pick<ConnectedProxies, 'dropRevoked'>,
): Pick<Handlers, ProxyRoute> {
  return {
    groups: async () => ({ items: await readGroups(control) }),
    groupCreate: (request, { body }) => createGroup(control, actorOf(request), body),
    async groupChange(request, { params, body }) {
      await changeGroup(control, actorOf(request), params.name, body)
      return (await readGroups(control)).find(({ name }) => name === params.name)!
    },
    joinToken: (request, { params }) => createJoinToken(control, actorOf(request), params.name),
    async proxyRevoke(request, { params, body }) {
      await revokeProxy(control, actorOf(request), params.id, body.reason)
      // Other replicas find out by themselves, within seconds.
      await proxies.dropRevoked()
      return { done: true }
    },
    async proxyJoin({ remoteAddress }, { body }) {
      countJoin(remoteAddress)
      return joinProxy(control, remoteAddress, body)
    },
    proxyRenew: ({ caller, remoteAddress }, { body }) =>
      renewProxy(control, caller, remoteAddress, body),
  }
}

async function readGroups(control: Control): Promise<z.output<typeof proxyGroup>[]> {
  const groups = await control.state.query<{
    name: string
    domain: string
    sshSourceAddresses: string[]
  }>(
    'select name, domain, ssh_source_addresses as "sshSourceAddresses" from proxy_groups where realm = $1 order by name',
    [control.realm],
  )
  const proxies = await readProxyPresence(control.state, control)
  return groups.map(({ name, domain, sshSourceAddresses }) => ({
    ...{ name, domain, sshSourceAddresses },
    proxies: proxies
      .filter((proxy) => proxy.group === name)
      .map((proxy) => ({
        id: proxy.proxyId,
        name: proxy.name,
        state: proxy.revoked ? 'revoked' : proxy.connected ? 'connected' : 'away',
        joinedAtMs: proxy.joinedAtMs,
        warnings: proxy.warnings,
      })),
  }))
}
