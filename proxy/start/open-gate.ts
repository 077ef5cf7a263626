import { sealedSecretsIn } from '../../control/api/sealed-secrets.ts'
import type { Gate, Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { createForwarder } from '../audit/forwarder.ts'
import type { Spool } from '../audit/spool-types.ts'
import type { ProxyConfig } from '../config.ts'
import type { ControlApi } from '../control-link/control-api.ts'
import type { ControlLink } from '../control-link/open-control-link.ts'
import { createGate } from '../gate.ts'
import { createIdentification } from '../identity/identification.ts'
import type { Identities } from '../identity/identities.ts'
import { createIdentify } from '../identity/identify.ts'
import { limitIdentify } from '../identity/limit-identify.ts'
import type { ProxyIdentity } from '../identity/proxy-identity.ts'
import { createRedeem } from '../identity/redeem.ts'
import type { SignIns } from '../identity/sign-in.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Policy } from '../policy/policy.ts'
import { createEnvStore } from '../secrets/env-store.ts'
import { createSealedStore } from '../secrets/sealed-store.ts'
import type { SecretStore } from '../secrets/secret-store.ts'
import { createAuthorise } from '../sessions/authorise.ts'
import { createCancelKeys } from '../sessions/cancel-keys.ts'
import { createSessions } from '../sessions/create-session.ts'
import { startDial } from '../sessions/dial.ts'
import type { Registry } from '../sessions/registry.ts'
import type { Tls } from './open-tls.ts'

export interface OpenGateOptions {
  readonly config: ProxyConfig
  /** Only what never changes of it. */
  readonly identity: Pick<ProxyIdentity, 'realm' | 'group' | 'domain'>
  readonly control: ControlLink
  readonly controlApi: Pick<ControlApi, 'certifySession'>
  readonly policy: Policy
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

/** The gate with everything that it decides by; called for each connection with its address. */
export function openGate(options: OpenGateOptions): (remoteAddress: string) => Gate {
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
  const identification = createIdentification({
    ...{ ...shared, identify, identities, view },
    signIns: options.signIns,
  })
  const gate = createGate({
    ...shared,
    domain,
    identify,
    redeem: createRedeem({ domain, ask: (question) => confirmations.ask(question), clock }),
    authorise: createAuthorise({
      ...shared,
      realm,
      group,
      view,
      ask: (question) => confirmations.ask(question),
      freshness,
      policy: options.policy,
      createSession,
    }),
    isDraining: options.isDraining,
  })
  return (remoteAddress) => ({
    ...identification,
    admit: (arrival) => gate.admit(arrival),
    lease: (arrival) => gate.admit(arrival),
    browsers: {
      begin: () => Promise.reject(new Error('not built yet')),
      finish: () => Promise.reject(new Error('not built yet')),
      signOutUrl: '',
    },
    cancel: (key) => cancelKeys.run(key, remoteAddress),
  })
}

function defaultStores(dataDir: string): SecretStore[] {
  const { file, keyFile } = sealedSecretsIn(dataDir)
  return [createEnvStore(process.env), createSealedStore(file, keyFile)]
}
