import type { Signer } from '../../certs/signer.ts'
import { sealedSecretsIn } from '../../control/api/sealed-secrets.ts'
import { protocolNames, type ProtocolName } from '../../protocols/activity.ts'
import type { Gate, Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { createForwarder } from '../audit/forwarder.ts'
import type { Spool } from '../audit/spool-types.ts'
import type { ProxyConfig } from '../config.ts'
import type { ConfirmQuestion } from '../control-link/confirmations.ts'
import type { ControlApi } from '../control-link/control-api.ts'
import type { ControlLink } from '../control-link/open-control-link.ts'
import { createGate } from '../gate.ts'
import type { AssertionSigner } from '../identity/assertion-keys.ts'
import { createBrowserSessions } from '../identity/browser-sessions.ts'
import { createBrowserSignIns } from '../identity/browser-sign-ins.ts'
import { createIdentification, type Identification } from '../identity/identification.ts'
import type { Identities } from '../identity/identities.ts'
import { createIdentify } from '../identity/identify.ts'
import { limitIdentify } from '../identity/limit-identify.ts'
import type { ProxyIdentity } from '../identity/proxy-identity.ts'
import { createRecheck } from '../identity/recheck.ts'
import { createRedeemApiToken } from '../identity/redeem-api-token.ts'
import { createRedeem, firstToRedeem } from '../identity/redeem.ts'
import type { SignIns } from '../identity/sign-in.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { OpenedPolicy } from '../policy/open-policy.ts'
import { createEnvStore } from '../secrets/env-store.ts'
import { createSealedStore } from '../secrets/sealed-store.ts'
import type { SecretStore } from '../secrets/secret-store.ts'
import { createAuthorise } from '../sessions/authorise.ts'
import { createCancelKeys } from '../sessions/cancel-keys.ts'
import { createSessions } from '../sessions/create-session.ts'
import { startDial } from '../sessions/dial.ts'
import { createLeases } from '../sessions/leases.ts'
import { levelCovering, newestGrantOf } from '../sessions/newest-grant.ts'
import type { Registry } from '../sessions/registry.ts'
import type { Tls } from './open-tls.ts'

export interface OpenGateOptions {
  readonly config: ProxyConfig
  /** Only what never changes of it. */
  readonly identity: Pick<ProxyIdentity, 'proxyId' | 'realm' | 'group' | 'domain'>
  /** Of the certificate that is in use at the moment. */
  readonly signer: Signer
  readonly assertionSigner: AssertionSigner
  readonly control: ControlLink
  readonly controlApi: Pick<ControlApi, 'api' | 'certifySession'>
  readonly policy: OpenedPolicy
  /** Default: `env` and `sealed`. */
  readonly stores: readonly SecretStore[] | undefined
  readonly spool: Spool
  readonly registry: Registry
  readonly identities: Identities
  readonly signIns: SignIns
  readonly peopleAuthoritiesPem: Tls['peopleAuthoritiesPem']
  readonly isDraining: () => boolean
  readonly clock: Clock
  readonly metrics: Metrics
  readonly log: Log
}

export interface OpenedGate {
  /** A gate for one connection. */
  readonly gateFor: (remoteAddress: string, protocol: ProtocolName) => Gate
  /** Ends sessions that wait for somebody to use them again, and from here on leaves none waiting. */
  readonly endUnused: () => void
}

/** The gate with everything that it decides by. */
export function openGate(options: OpenGateOptions): OpenedGate {
  const { config, control, spool, registry, identities, clock, metrics, log } = options
  const { realm, group, domain } = options.identity
  const { limits } = config
  const { view, freshness, controlClock, confirmations } = control
  const shared = { spool, registry, startDial, clock, controlClock, limits, metrics, log }
  const cancelKeys = createCancelKeys(clock, log)
  const createSession = createSessions({
    ...shared,
    createForwarder,
    stores: options.stores ?? defaultStores(config.dataDir),
    cancelKeys,
    ...{ domain, assertionSigner: options.assertionSigner },
    certifySession: options.controlApi.certifySession,
  })
  const identify = limitIdentify(
    createIdentify({
      realm,
      demo: config.demo,
      authoritiesPem: options.peopleAuthoritiesPem,
      view,
      factsOf: (known) => identities.factsOf(known),
      clock,
    }),
    clock,
  )
  const identifying = { ...shared, identify, identities, view, signIns: options.signIns }
  const identificationOf = Object.fromEntries(
    protocolNames.map((protocol) => [protocol, createIdentification({ ...identifying, protocol })]),
  ) as Record<ProtocolName, Identification>
  const browserSessions = createBrowserSessions({ realm, group, domain, view, controlClock })
  const asking = {
    domain,
    ask: (question: ConfirmQuestion) => confirmations.ask(question),
    clock,
  }
  const gate = createGate({
    ...shared,
    domain,
    identify,
    redeem: firstToRedeem(
      browserSessions.redeem,
      createRedeemApiToken(asking),
      createRedeem(asking),
    ),
    authorise: createAuthorise({
      ...shared,
      realm,
      group,
      view,
      ask: asking.ask,
      freshness,
      policy: options.policy,
      createSession,
    }),
    isDraining: options.isDraining,
  })
  const leases = createLeases({
    ...{ ...shared, domain, gate },
    recheck: createRecheck({ identify, browserSessions, view, controlClock }),
    newestGrant: (...of) => newestGrantOf(view, controlClock, ...of),
    levelCovering: (...of) => levelCovering(view, controlClock, ...of),
  })
  const browsersFor = createBrowserSignIns({
    ...{ ...shared, identity: options.identity, signer: options.signer },
    consoleUrl: config.consoleUrl,
    isControlThere: () => control.link.state === 'up',
    api: options.controlApi.api,
  })
  return {
    gateFor: (remoteAddress, protocol) => ({
      ...identificationOf[protocol],
      admit: (arrival) => gate.admit(arrival),
      lease: (arrival) => leases.lease(arrival),
      browsers: browsersFor(remoteAddress),
      cancel: (key) => cancelKeys.run(key, remoteAddress),
    }),
    endUnused: () => leases.drain(),
  }
}

function defaultStores(dataDir: string): SecretStore[] {
  const { file, keyFile } = sealedSecretsIn(dataDir)
  return [createEnvStore(process.env), createSealedStore(file, keyFile)]
}
