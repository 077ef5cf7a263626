/**
 * The only door. In this order: identify, find the grant, dial and confirm side by side, subscribe, check
 * again, arm, record; and answers every refusal after the same time, whatever its cause.
 */
import { randomUUID } from 'node:crypto'
import type { Arrival, Log } from '../protocols/engine.ts'
import type { Clock } from '../protocols/kit/clock.ts'
import { SallyportError, toSallyportError } from '../protocols/kit/errors.ts'
import type { Limits } from '../protocols/kit/limits.ts'
import type { Spool } from './audit/spool-types.ts'
import { skewMsMax, type ControlClock } from './control-link/control-clock.ts'
import type { Identify, Identity } from './identity/identify.ts'
import type { Redeem } from './identity/redeem.ts'
import type { Metrics } from './observe/metrics.ts'
import type { LiveSession } from './sessions/live-session.ts'
import type { Registry } from './sessions/registry.ts'
import type { Authorise } from './sessions/authorise.ts'
import { noName } from './sessions/access-denied.ts'
import { createRefusalBudget } from './sessions/refusal-budget.ts'
import { resourceNameOf } from './sessions/resource-name-of.ts'
import { untilRefusal } from './sessions/until-refusal.ts'

export interface AdmissionGate {
  /** As `Gate.admit`. */
  admit(arrival: Arrival): Promise<LiveSession>
}

export interface GateOptions {
  readonly domain: string
  readonly identify: Identify
  readonly redeem: Redeem
  readonly authorise: Authorise
  readonly registry: Registry
  readonly controlClock: ControlClock
  readonly spool: Spool
  readonly isDraining: () => boolean
  readonly clock: Clock
  readonly limits: Limits
  readonly metrics: Pick<Metrics, 'refused'>
  readonly log: Log
}

export function createGate(options: GateOptions): AdmissionGate {
  const {
    identify,
    redeem,
    authorise,
    registry,
    controlClock,
    spool,
    clock,
    limits,
    metrics,
    log,
  } = options
  const countRefusal = createRefusalBudget(clock)

  function requireOpen(): void {
    if (options.isDraining()) {
      throw new SallyportError('proxy-draining', 'draining', {
        clientMessage: 'this proxy is being stopped',
        hint: 'connect again',
      })
    }
    if (spool.refusing) {
      throw new SallyportError(
        spool.failure?.code ?? 'audit-full',
        spool.failure?.message ?? 'the spool is nearly full',
        {
          clientMessage: 'this proxy cannot record sessions at the moment, so it opens none',
          hint: 'try again later; tell the operator of the proxy if it lasts',
        },
      )
    }
    const skewMs = Math.round(controlClock.skewMs())
    if (Math.abs(skewMs) > skewMsMax) {
      throw new SallyportError('clock-skew', `control's clock minus ours: ${skewMs} ms`, {
        clientMessage: "this proxy's clock is wrong, so it opens no sessions",
        hint: 'tell the operator of the proxy',
      })
    }
  }

  function tell(
    arrival: Arrival,
    sessionId: string,
    identity: Identity | undefined,
    thrown: unknown,
  ) {
    const refusal = toSallyportError(thrown)
    metrics.refused(arrival.protocol, refusal.code)
    const resource = (arrival.resource ?? '').slice(0, 253)
    const { code, message: why } = refusal
    const { remoteAddress } = arrival
    const fields = { code, why, resource, personId: identity?.personId, remoteAddress, sessionId }
    if (code === 'internal') log.error({ ...fields, error: refusal.stack }, 'refused')
    else log.info(fields, 'refused')
    // Strangers are for the log and the metrics: the spool must not be theirs to fill.
    if (identity === undefined || spool.refusing) return refusal
    const { personId } = identity
    const leftOut = countRefusal(personId)
    if (leftOut === undefined) return refusal
    const others = leftOut === 0 ? '' : ` (and ${leftOut} more before this one)`
    try {
      spool.appendEvent('session-refused', sessionId, {
        code,
        why: why.slice(0, 1_000) + others,
        resource,
        personId,
        remoteAddress,
      })
    } catch (error) {
      log.error({ ...fields, error: String(error) }, 'a refusal was not recorded')
    }
    return refusal
  }

  return {
    async admit(arrival) {
      const arrivedMs = clock.monotonicMs()
      const sessionId = randomUUID()
      let identity: Identity | undefined
      try {
        // First of all: how this proxy is doing is not for strangers.
        const redeemed = await redeem({ arrival, sessionId, requireOpen })
        identity = redeemed?.identity ?? identify(arrival.evidence, arrival.remoteAddress)
        requireOpen()
        registry.requireRoom(identity.personId)
        const named = requireName(arrival, options.domain)
        const who = redeemed ?? { identity, arrival }
        return await authorise({ ...who, arrivedMs, sessionId, named, requireOpen })
      } catch (error) {
        const refusal = tell(arrival, sessionId, identity, error)
        await untilRefusal(clock, limits, arrivedMs)
        throw refusal
      }
    },
  }
}

function requireName(arrival: Arrival, domain: string): string {
  if (arrival.resource === undefined || arrival.resource === '') {
    throw new SallyportError('name-missing', 'the client named no resource', {
      clientMessage: 'no resource was named',
      hint: `connect to <resource>.${domain}, or name it in the login: <account>~<resource>`,
    })
  }
  const name = resourceNameOf(arrival.resource, domain)
  // Not a name at all is not more telling than the name of nothing: the same words, the same work.
  return name ?? noName
}
