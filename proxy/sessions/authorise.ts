/**
 * From a known person and a name to a session, or to a refusal. Unknown, forbidden, ended, another's: all take the same
 * way to the same words, and only a grant that is held, or that control names, leads to a dial.
 */
import type { Arrival, Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import type { Resource } from '../../control/api/resource.ts'
import type { GrantClaims } from '../../control/api/tokens.ts'
import type { Spool } from '../audit/spool-types.ts'
import type { Confirmation, ConfirmQuestion } from '../control-link/confirmations.ts'
import { skewMsMax, type ControlClock } from '../control-link/control-clock.ts'
import type { ControlView } from '../grants/control-view.ts'
import type { Freshness } from '../grants/freshness.ts'
import { chooseGrant, matchesWanted, type HeldGrant } from '../grants/grant-cache.ts'
import { revokedError, type Identity } from '../identity/identify.ts'
import type { Metrics } from '../observe/metrics.ts'
import { bindSecret, type Binding, type BoundSecret } from '../policy/bind-secret.ts'
import type { OpenedPolicy } from '../policy/open-policy.ts'
import { accessDenied } from './access-denied.ts'
import type { Dial, StartDial } from './dial.ts'
import type { LiveSession } from './live-session.ts'
import type { SessionFacts } from './session-parts.ts'
import type { Registry } from './registry.ts'

export interface AuthoriseOptions {
  readonly realm: string
  readonly group: string
  readonly view: ControlView
  readonly ask: (question: ConfirmQuestion) => Promise<Confirmation>
  readonly freshness: Pick<Freshness, 'covers' | 'leaseAgeMs'>
  readonly controlClock: ControlClock
  readonly registry: Registry
  readonly policy: Pick<OpenedPolicy, 'current'>
  readonly spool: Spool
  readonly startDial: StartDial
  readonly createSession: (facts: SessionFacts, dial: Dial) => LiveSession
  readonly clock: Clock
  readonly limits: Limits
  readonly metrics: Pick<Metrics, 'admitted'>
  readonly log: Log
}

export interface Request {
  readonly arrival: Arrival
  /** Monotonic ms. */
  readonly arrivedMs: number
  readonly sessionId: string
  readonly identity: Identity
  /** What control said already, where a token had to be redeemed. */
  readonly confirmation?: Confirmation
  /** The one grant that their evidence is for. */
  readonly grantId?: string
  /** A resource's name, or what stands for none. */
  readonly named: string
  /** Throws if the proxy takes no sessions at the moment. */
  readonly requireOpen: () => void
}

export type Authorise = (request: Request) => Promise<LiveSession>

/** A dial, and what it was made for. */
interface Candidate {
  readonly claims: GrantClaims
  /** Undefined where the policy binds no secret: then there is nowhere to go, and the refusal comes later. */
  readonly dialled: { readonly dial: Dial; readonly hop: BoundSecret } | undefined
}

export function createAuthorise(options: AuthoriseOptions): Authorise {
  const { realm, group, view, ask, freshness, controlClock, registry, policy, spool } = options
  const { startDial, createSession, clock, limits, metrics, log } = options

  /** Throws what stands against a session under these claims. */
  function requireUsable(
    { identity, named, arrival, grantId }: Request,
    claims: GrantClaims,
  ): Resource {
    const denied = (why: string): SallyportError => accessDenied(named, arrival.wanted, why)
    const objection = view.objection(identity, claims, controlClock.ageMs(0))
    if (objection === 'person-revoked' || objection === 'certificate-revoked') {
      throw revokedError(objection, identity)
    }
    if (objection !== undefined) throw denied(`${objection}: ${claims.grantId}`)
    if (claims.realm !== realm || claims.group !== group) throw denied('grant of another group')
    if (claims.personId !== identity.personId) throw denied("another person's grant")
    if (claims.grantId !== (grantId ?? claims.grantId)) throw denied('not the grant of the sign-in')
    if (claims.resource !== named) throw denied('grant of another resource')
    // Control's clock may be a little ahead of ours: what it has let begin has begun.
    if (claims.notBeforeMs > clock.wallMs() + skewMsMax) throw denied('grant-not-begun')
    const resource = view.resource(named)
    if (resource === undefined || resource.group !== group) throw denied('no-resource')
    if (resource.protocol !== arrival.protocol) throw denied('resource of another protocol')
    if (!matchesWanted(claims, resource, arrival.wanted)) throw denied('grant of another level')
    return resource
  }

  /** The grant of the cache that the person means, with a dial on its way. */
  function findCandidate(request: Request): Candidate | undefined {
    const { identity, named, arrival } = request
    const resource = view.resource(named)
    if (resource === undefined) return undefined
    const isUsable = (claims: GrantClaims): boolean => {
      try {
        requireUsable(request, claims)
        return true
      } catch {
        return false
      }
    }
    const held = view.grants.of(identity.personId, named)
    const grant = chooseGrant(held, resource, arrival.wanted, (each) => isUsable(each.claims))
    if (grant === undefined) return undefined
    return { claims: grant.claims, dialled: dialFor(resource, grant.claims) }
  }

  function dialFor(resource: Resource, claims: GrantClaims): Candidate['dialled'] {
    try {
      const hop = hopOf(bindSecret(policy.current, resource, claims.level))
      return { dial: dial(hop, resource), hop }
    } catch {
      return undefined
    }
  }

  function dial({ host, port }: BoundSecret, resource: Resource): Dial {
    return startDial({ host, port, resource: resource.name }, limits.upstreamConnectMs, clock)
  }

  /** What control says to this; or, in an outage, what its last word allows. */
  async function confirm(
    request: Request,
    candidate: Candidate | undefined,
  ): Promise<{ claims: GrantClaims; position: number; by: 'control' | 'lease' }> {
    const { sessionId, identity, named, arrival } = request
    const bound = request.grantId ?? candidate?.claims.grantId
    const answer =
      request.confirmation ??
      (await ask({
        sessionId,
        ...(bound === undefined ? {} : { grantId: bound }),
        personId: identity.personId,
        ...evidenceOf(identity),
        resource: named,
        wanted: arrival.wanted.slice(0, 128),
        protocol: arrival.protocol,
      }))
    if (answer.kind === 'denied') {
      if (answer.why === 'person-revoked') throw revokedError(answer.why, identity)
      if (evidenceEnded.has(answer.why)) throw revokedError('certificate-revoked', identity)
      throw accessDenied(named, arrival.wanted, `control denies: ${answer.why}`)
    }
    if (answer.kind === 'unreachable') {
      if (candidate === undefined) {
        const why = `no grant, and control cannot be reached: ${answer.why}`
        throw accessDenied(named, arrival.wanted, why)
      }
      return { ...underLease(request, candidate.claims, answer.why), by: 'lease' }
    }
    const learned = await learn(answer.token, answer.position).catch((error: unknown) => {
      const why = `control's grant does not count: ${String(error)}`
      throw accessDenied(named, arrival.wanted, why)
    })
    // The feed may have brought a later revision than the one that control looked at.
    const held = view.grants.get(learned.claims.grantId)
    const claims =
      held !== undefined && held.claims.revision > learned.claims.revision ? held : learned
    return { claims: claims.claims, position: answer.position, by: 'control' }
  }

  /** A key that control signs with may be on its way: the token is looked at again once the feed is there. */
  async function learn(token: string, position: number): Promise<HeldGrant> {
    try {
      return await view.learn(token)
    } catch (error) {
      if (!(await untilPosition(position))) throw error
      return view.learn(token)
    }
  }

  /** Control cannot be reached: the resource's policy and the age of control's last word decide. */
  function underLease(request: Request, claims: GrantClaims, why: string) {
    const resource = requireUsable(request, claims)
    if (freshness.covers(resource)) return { claims, position: view.position }
    throw new SallyportError(
      'control-unreachable',
      `${why}; lease age ${String(freshness.leaseAgeMs())} ms, policy ${resource.outage.policy}`,
      {
        clientMessage: `control cannot be reached, and "${resource.name}" takes no new sessions without it`,
        hint: 'try again later; tell the operator of the proxy if it lasts',
      },
    )
  }

  /** Resolves with whether the view got there in time. */
  function untilPosition(position: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = clock.startTimer(limits.confirmMs, () => {
        giveUp()
        resolve(false)
      })
      const giveUp = view.onceAt(position, () => {
        timer.cancel()
        resolve(true)
      })
    })
  }

  return async (request) => {
    const { arrival, arrivedMs, sessionId, identity } = request
    const candidate = findCandidate(request)
    let session: LiveSession | undefined
    try {
      const confirmed = await confirm(request, candidate)
      const resource = requireUsable(request, confirmed.claims)
      const binding = bindSecret(policy.current, resource, confirmed.claims.level)
      request.requireOpen()

      const hop = hopOf(binding)
      const dialled = candidate?.dialled
      const isSamePlace = dialled?.hop.host === hop.host && dialled.hop.port === hop.port
      if (!isSamePlace) dialled?.dial.destroy()
      const { claims } = confirmed
      session = createSession(
        {
          labels: {
            realm,
            sessionId,
            grantId: claims.grantId,
            personId: identity.personId,
            personEmail: claims.personEmail,
            resource: resource.name,
            protocol: resource.protocol,
            level: claims.level,
            expiresAtMs: claims.expiresAtMs,
          },
          identity,
          claims,
          resource,
          binding,
          confirmedPosition: confirmed.position,
        },
        isSamePlace ? dialled.dial : dial(hop, resource),
      )
      // Subscribed first, looked at again after: nothing that ends it can slip between.
      registry.add(session)
      session.arm()
      let by = confirmed.by
      if (by === 'control' && !(await untilPosition(confirmed.position))) {
        log.warn({ sessionId, position: confirmed.position }, 'the feed does not keep up')
        underLease(request, session.claims, 'the feed does not keep up')
        by = 'lease'
      }
      session.throwIfCut()
      requireUsable(request, session.claims)

      session.recorded()
      spool.appendEvent('session-opened', sessionId, {
        personId: identity.personId,
        personEmail: claims.personEmail,
        grantId: claims.grantId,
        grantRevision: session.claims.revision,
        resource: resource.name,
        protocol: resource.protocol,
        level: claims.level,
        account: binding.account,
        upstream: `${binding.upstream.host}:${binding.upstream.port}`,
        remoteAddress: arrival.remoteAddress,
        certificateSerial: identity.serial,
        evidence: identity.kind,
        attributes: { ...arrival.attributes },
        retention: resource.retention,
        durability: durabilityOf(resource, claims.level),
        expiresAtMs: session.claims.expiresAtMs,
        admittedBy: by,
        policyRule: binding.rule,
      })
      await spool.commitNow('synced')
      session.throwIfCut()
      const durationMs = clock.monotonicMs() - arrivedMs
      metrics.admitted(resource.protocol, by, durationMs)
      log.info({ ...session.labels, by, durationMs }, 'session admitted')
      return session
    } catch (error) {
      if (session === undefined) candidate?.dialled?.dial.destroy()
      await session?.[Symbol.asyncDispose]()
      throw refusalOf(error, request)
    }
  }
}

/** Why control denies what they were identified by. */
const evidenceEnded: ReadonlySet<string> = new Set([
  'certificate-revoked',
  'key-removed',
  'login-ended',
  'browser-signed-out',
])

/** As control knows what they were identified by. */
function evidenceOf({ kind, serial }: Identity): Partial<ConfirmQuestion> {
  if (kind === 'key') return { keyFingerprint: serial }
  if (kind === 'browser') return { browserSignInId: serial }
  return kind === 'login' ? { loginId: serial } : { certificateSerial: serial }
}

/** Where the connection goes first. */
function hopOf(binding: Binding): BoundSecret {
  return binding.bastion ?? binding
}

/** A cut while opening means the same as a grant that had ended before. */
function refusalOf(error: unknown, { named, arrival }: Request): unknown {
  if (error instanceof SallyportError && error.code === 'access-denied') {
    return accessDenied(named, arrival.wanted, error.message)
  }
  return error
}

/** Default: `written` for read, `synced` for everything above. */
export function durabilityOf(resource: Resource, level: GrantClaims['level']) {
  return resource.levels[level]?.durability ?? (level === 'read' ? 'written' : 'synced')
}
