import { isIP } from 'node:net'
import type { Resource } from '../../control/api/resource.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Level, Upstream, UpstreamTlsMode } from '../../protocols/session.ts'
import type { AddressRule, Policy, SecretRule } from './policy.ts'

const strength: Readonly<Record<UpstreamTlsMode, number>> = {
  disable: 0,
  require: 1,
  'verify-full': 2,
}

/** Where a level of a resource is reached and what its secret may be used for. */
export interface Binding {
  readonly upstream: Upstream
  readonly account: string
  /** `<store>:<path>`. */
  readonly reference: string
  /**
   * Whether the secret may be sent over a connection to this IP address. For a host name that only a network rule binds, this
   * is where the name's present address is held to the rule.
   */
  allowsPeer(address: string): boolean
}

/**
 * The binding that the policy gives to a level of a resource.
 * @throws SallyportError `secret-not-bound` if no rule binds the reference to exactly this address, server name, TLS
 *   mode (or a stronger one than the rule's) and level.
 */
export function bindSecret(policy: Policy, resource: Resource, level: Level): Binding {
  const offered = resource.levels[level]
  if (offered === undefined)
    throw notBound(resource, level, 'the resource does not offer the level')
  const host = resource.address.host.toLowerCase()
  const { port } = resource.address
  const serverName = (resource.tls.serverName ?? resource.address.host).toLowerCase()
  const tls = resource.tls.mode
  const reasons: string[] = []
  for (const rule of policy.secrets) {
    if (!rule.matches.test(offered.secret)) continue
    const addresses = rule.addresses.filter((each) => mayMatch(each, host, port))
    const objection = objectionOf(rule, level, addresses.length > 0, host, serverName, tls)
    if (objection !== undefined) {
      reasons.push(`${rule.reference}: ${objection}`)
      continue
    }
    return {
      upstream: {
        host: resource.address.host,
        port,
        serverName,
        tls,
        ...(rule.caPem === undefined ? {} : { caPem: rule.caPem }),
      },
      account: offered.account,
      reference: offered.secret,
      allowsPeer: (peer) =>
        addresses.some(
          (each) => typeof each.host === 'string' || inNetwork(each.host.network, peer),
        ),
    }
  }
  throw notBound(resource, level, reasons.join('; ') || 'no rule names the reference')
}

function objectionOf(
  rule: SecretRule,
  level: Level,
  addressMatches: boolean,
  host: string,
  serverName: string,
  tls: UpstreamTlsMode,
): string | undefined {
  if (!rule.levels.includes(level)) return `not for level ${level}`
  if (!addressMatches) return 'not for this address'
  if (serverName !== (rule.serverName ?? host)) return `not for server name ${serverName}`
  if (strength[tls] < strength[rule.tls]) return `TLS mode ${tls} is weaker than ${rule.tls}`
  return undefined
}

function mayMatch(rule: AddressRule, host: string, port: number): boolean {
  if (rule.port !== port) return false
  if (typeof rule.host === 'string') return rule.host === host
  // A name is resolved when it is dialled; then `allowsPeer` looks at the address it led to.
  return isIP(host) === 0 || inNetwork(rule.host.network, host)
}

function inNetwork(
  network: { check(address: string, family: 'ipv4' | 'ipv6'): boolean },
  address: string,
): boolean {
  const family = isIP(address)
  return family !== 0 && network.check(address, family === 4 ? 'ipv4' : 'ipv6')
}

function notBound(resource: Resource, level: Level, why: string): SallyportError {
  return new SallyportError(
    'secret-not-bound',
    `${resource.name} level ${level} (${resource.levels[level]?.secret ?? 'no secret'}): ${why}`,
    {
      clientMessage: `this proxy's policy does not let "${resource.name}" be reached at level ${level}`,
      hint: 'ask the operator of the proxy to look at its policy file',
    },
  )
}
