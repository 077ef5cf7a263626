import { isIP } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../../control/api/resource.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Level, SshUpstream, Upstream, UpstreamTlsMode } from '../../protocols/session.ts'
import type { ClientCredentials } from '../secrets/request-access-token.ts'
import { bindHosts } from './bind-hosts.ts'
import type { AddressRule, Policy, SecretRule } from './policy.ts'

const strength: Readonly<Record<UpstreamTlsMode, number>> = {
  disable: 0,
  require: 1,
  'verify-full': 2,
}

/** An account and its secret, and where that may go. */
export interface BoundSecret {
  readonly host: string
  readonly port: number
  readonly account: string
  /** `<store>:<path>`, or `certificate:<name>`. */
  readonly reference: string
  /** Of the rule, those that may be meant. */
  readonly addresses: readonly AddressRule[]
  /**
   * Whether the secret may be sent over a connection to this IP address. For a host name that only a network rule binds, this
   * is where the name's present address is held to the rule.
   */
  allowsPeer(address: string): boolean
}

/** Where a level of a resource is reached and what its secret may be used for. */
export interface Binding extends BoundSecret {
  readonly upstream: Upstream
  /** Reference of the rule that binds it, as the policy has it. */
  readonly rule: string
  /** What is dialled in the resource's stead. */
  readonly bastion?: BoundSecret
  /** Where the secret is traded for what the resource takes. */
  readonly oauth?: ClientCredentials
}

/** What a secret is wanted for. */
interface Use {
  readonly what: string
  readonly level: Level
  readonly host: string
  readonly port: number
  readonly account: string
  readonly reference: string
  /** How an app is shown it; undefined for other protocols. */
  readonly credential: SecretRule['credential']
  /** Why a rule's own demands are not met. */
  readonly objection: (rule: SecretRule) => string | undefined
  /** A name that somebody else resolves: no network rule can be held against where it leads. */
  readonly isResolvedElsewhere: boolean
}

/**
 * The binding that the policy gives to a level of a resource.
 * @throws SallyportError `secret-not-bound` if no rule binds the reference to exactly this address, server name, TLS
 *   mode (or a stronger one than the rule's), host keys of SSH, way of showing it to an app, account where it names any, and level; or
 *   the bastion's in the same way.
 */
export function bindSecret(policy: Policy, resource: Resource, level: Level): Binding {
  const offered = resource.levels[level]
  if (offered === undefined)
    throw notBound(`${resource.name} level ${level}`, resource, level, 'it is not offered')
  const { host, port } = resource.address
  const serverName = (resource.tls.serverName ?? host).toLowerCase()
  const tls = resource.tls.mode
  const { ssh } = resource
  const credential = resource.http?.credential
  const oauth = credential?.kind === 'oauth' ? credential : undefined
  const trusted = (rule: SecretRule) => bindHosts(ssh!, rule.ssh, offered.secret)
  const { rule, bound } = bind(policy, resource, {
    what: `${resource.name} level ${level} (${offered.secret})`,
    ...{ level, host, port, account: offered.account, reference: offered.secret },
    credential,
    objection: (each) =>
      ssh === undefined ? tlsObjection(each, host, serverName, tls) : trusted(each).objection,
    isResolvedElsewhere: ssh?.bastion !== undefined,
  })
  const upstream: Upstream = {
    ...{ host, port, serverName, tls },
    ...(rule.caPem === undefined ? {} : { caPem: rule.caPem }),
  }
  if (ssh === undefined) {
    const { caPem } = rule
    const traded = oauth && { tokenUrl: oauth.tokenUrl, scope: oauth.scope, caPem }
    return {
      ...bound,
      rule: rule.reference,
      upstream,
      ...(traded === undefined ? {} : { oauth: traded }),
    }
  }
  const bastion = ssh.bastion && bindBastion(policy, resource, level, ssh.bastion)
  const sshUpstream: SshUpstream = {
    ...trusted(rule).hosts,
    ...(bastion === undefined ? {} : { bastion: bastion.upstream }),
  }
  return {
    ...bound,
    rule: rule.reference,
    upstream: { ...upstream, ssh: sshUpstream },
    ...(bastion === undefined ? {} : { bastion: bastion.bound }),
  }
}

function bindBastion(
  policy: Policy,
  resource: Resource,
  level: Level,
  bastion: NonNullable<NonNullable<Resource['ssh']>['bastion']>,
): { bound: BoundSecret; upstream: NonNullable<SshUpstream['bastion']> } {
  const { host, port, account, secret: reference } = bastion
  const { rule, bound } = bind(policy, resource, {
    what: `the bastion of ${resource.name} (${reference})`,
    ...{ level, host, port, account, reference, credential: undefined },
    objection: (each) => bindHosts(bastion, each.ssh, reference).objection,
    isResolvedElsewhere: false,
  })
  return { bound, upstream: { host, port, ...bindHosts(bastion, rule.ssh, reference).hosts } }
}

/** The first rule that binds this use. */
function bind(
  policy: Policy,
  resource: Resource,
  use: Use,
): { rule: SecretRule; bound: BoundSecret } {
  const { host, port, account, reference } = use
  const reasons: string[] = []
  for (const rule of policy.secrets) {
    if (!rule.matches.test(reference)) continue
    const addresses = rule.addresses.filter((each) => mayMatch(each, use))
    const objection = objectionOf(rule, use, addresses.length > 0) ?? use.objection(rule)
    if (objection === undefined) {
      const allowsPeer = (peer: string): boolean => addresses.some((each) => mayLead(each, peer))
      return { rule, bound: { host, port, account, reference, addresses, allowsPeer } }
    }
    reasons.push(`${rule.reference}: ${objection}`)
  }
  const why = reasons.join('; ') || 'no rule names the reference'
  throw notBound(use.what, resource, use.level, why)
}

function objectionOf(rule: SecretRule, use: Use, addressMatches: boolean): string | undefined {
  if (!rule.levels.includes(use.level)) return `not for level ${use.level}`
  if (!addressMatches) return 'not for this address'
  if (rule.accounts?.includes(use.account) === false) return `not for account ${use.account}`
  return credentialObjection(rule.credential, use.credential)
}

/** Who chooses how a secret is shown chooses who gets to read it: an app echoes and logs what it does not know for a credential. */
function credentialObjection(
  ruled: SecretRule['credential'],
  shown: SecretRule['credential'],
): string | undefined {
  if (shown === undefined) return ruled === undefined ? undefined : 'for HTTP alone'
  if (ruled === undefined) {
    return shown.kind === 'none' ? undefined : 'for HTTP it has to say how it is shown (credential)'
  }
  return isDeepStrictEqual(ruled, shown)
    ? undefined
    : `not to be shown as ${JSON.stringify(shown)}, only as ${JSON.stringify(ruled)}`
}

function tlsObjection(
  rule: SecretRule,
  host: string,
  serverName: string,
  tls: UpstreamTlsMode,
): string | undefined {
  if (serverName !== (rule.serverName ?? host.toLowerCase())) {
    return `not for server name ${serverName}`
  }
  if (strength[tls] < strength[rule.tls]) return `TLS mode ${tls} is weaker than ${rule.tls}`
  return undefined
}

function mayMatch(rule: AddressRule, { host, port, isResolvedElsewhere }: Use): boolean {
  if (rule.port !== port) return false
  if (typeof rule.host === 'string') return rule.host === host.toLowerCase()
  // A name is resolved when it is dialled; then `allowsPeer` looks at the address it led to.
  if (isIP(host) === 0) return !isResolvedElsewhere
  return inNetwork(rule.host.network, host)
}

function mayLead({ host }: AddressRule, peer: string): boolean {
  return typeof host === 'string' || inNetwork(host.network, peer)
}

function inNetwork(
  network: { check(address: string, family: 'ipv4' | 'ipv6'): boolean },
  address: string,
): boolean {
  const family = isIP(address)
  return family !== 0 && network.check(address, family === 4 ? 'ipv4' : 'ipv6')
}

function notBound(what: string, resource: Resource, level: Level, why: string): SallyportError {
  return new SallyportError('secret-not-bound', `${what}: ${why}`, {
    clientMessage: `this proxy's policy does not let "${resource.name}" be reached at level ${level}`,
    hint: 'ask the operator of the proxy to look at its policy file',
  })
}
