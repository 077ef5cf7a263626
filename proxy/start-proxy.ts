/**
 * Puts a proxy together and starts it: identity, state, spool, link, gate, listeners. The composition root knows the concrete
 * parts; everything below it is handed what it needs.
 */
import { createPrivateKey } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { createKeySigner } from '../certs/key-signer.ts'
import { readPrivateFile } from '../certs/key-file.ts'
import type { Signer } from '../certs/signer.ts'
import { sealedSecretsIn } from '../control/api/sealed-secrets.ts'
import { protocolNames, type ProtocolName } from '../protocols/activity.ts'
import type { Gate, Log } from '../protocols/engine.ts'
import { engines } from '../protocols/index.ts'
import { sleep, systemClock, type Clock } from '../protocols/kit/clock.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import { loadOrCreateSealingKey } from '../protocols/kit/sealed-file.ts'
import { createForwarder } from './audit/forwarder.ts'
import { openSpool } from './audit/open-spool.ts'
import { createShipper } from './audit/shipper.ts'
import type { ProxyConfig } from './config.ts'
import { createAuditStore } from './control-link/audit-store.ts'
import { createControlApi } from './control-link/control-api.ts'
import { openControlLink } from './control-link/open-control-link.ts'
import { drain } from './drain.ts'
import { createGate } from './gate.ts'
import { createHostKeys } from './identity/host-keys.ts'
import { createIdentification } from './identity/identification.ts'
import { createIdentities } from './identity/identities.ts'
import { createIdentify } from './identity/identify.ts'
import { limitIdentify } from './identity/limit-identify.ts'
import { createSignIns } from './identity/sign-in.ts'
import { createRedeem } from './identity/redeem.ts'
import { join } from './identity/join.ts'
import {
  readIdentity,
  requireDemoMatch,
  writeIdentity,
  type ProxyIdentity,
} from './identity/proxy-identity.ts'
import { startRenewal } from './identity/renewal.ts'
import { createConnectionLimits, openListener, type Listener } from './listener.ts'
import { openHealthServer } from './observe/health-server.ts'
import { createLog } from './observe/log.ts'
import { createMetrics } from './observe/metrics.ts'
import { readinessChecks } from './observe/readiness.ts'
import { readPolicy } from './policy/policy.ts'
import { readVersion } from './read-version.ts'
import { createEnvStore } from './secrets/env-store.ts'
import { createSealedStore } from './secrets/sealed-store.ts'
import type { SecretStore } from './secrets/secret-store.ts'
import { createAuthorise } from './sessions/authorise.ts'
import { createCancelKeys } from './sessions/cancel-keys.ts'
import { createSessions } from './sessions/create-session.ts'
import { startDial } from './sessions/dial.ts'
import { followView } from './sessions/follow-view.ts'
import { createRegistry } from './sessions/registry.ts'
import { watchOutage } from './sessions/watch-outage.ts'
import { splitPem } from './split-pem.ts'
import { createTlsContexts } from './tls-contexts.ts'

const readyPollMs = 20

export interface StartOptions {
  readonly config: ProxyConfig
  readonly clock?: Clock
  readonly log?: Log
  /** Default: `env` and `sealed`. */
  readonly stores?: readonly SecretStore[]
}

export interface RunningProxy {
  readonly proxyId: string
  readonly domain: string
  readonly ports: Readonly<Partial<Record<ProtocolName, number>>>
  readonly metricsPort: number
  /** What `/readyz` says, in one word. */
  isReady(): boolean
  /** Resolves once it is ready; control may take its time. */
  ready(): Promise<void>
  /** Live sessions. */
  readonly sessions: number
  /** Takes nothing new, lets sessions end for up to `drainMs`, then cuts them, and closes all. Idempotent. */
  stop(drainMs?: number): Promise<void>
}

/** Rejects with what is wrong with the configuration, the state on disk, the ports or the join. */
export async function startProxy(options: StartOptions): Promise<RunningProxy> {
  const { config } = options
  const clock = options.clock ?? systemClock
  const log = options.log ?? createLog(config.logLevel)
  const { dataDir, limits } = config
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const closers: (() => Promise<void> | void)[] = []
  try {
    let identity = readIdentity(dataDir) ?? (await joinFirst(config, log))
    requireDemoMatch(identity, config.demo)
    const { proxyId, realm, group, domain } = identity
    const signer = currentSigner(() => identity)
    const waitingMax = limits.signInsMax
    const controlApi = createControlApi({ controlUrl: config.controlUrl, identity, waitingMax })
    closers.push(() => controlApi.close())
    const policy = readPolicy(config.policyFile)
    if (policy.secrets.length === 0) {
      log.warn(
        { policyFile: config.policyFile },
        'the policy binds no secret: nothing can be reached',
      )
    }

    const spool = await openSpool({
      directory: joinPath(dataDir, 'spool'),
      key: loadOrCreateSealingKey(joinPath(dataDir, 'spool.key')),
      proxyId,
      clock,
      limits: { totalBytesMax: config.spoolBytesMax },
      version: readVersion(),
      log,
    })
    closers.push(() => spool.close('start failed'))
    const store = createAuditStore(controlApi.api)
    const shipper = createShipper({
      outbox: spool.outbox,
      store,
      signer,
      realm,
      proxyId,
      clock,
      log,
    })
    closers.push(() => shipper.close())

    const control = await openControlLink({
      controlUrl: config.controlUrl,
      directory: joinPath(dataDir, 'state'),
      identity: () => identity,
      bootEpoch: spool.epoch,
      version: readVersion(),
      onConfirmed: (durationMs) => metrics.confirmed(durationMs),
      clock,
      limits,
      log,
    })
    closers.push(() => control.close())
    const { view, freshness, controlClock, confirmations, link } = control

    const connections = createConnectionLimits(limits)
    const registry = createRegistry({ spool, limits })
    const cancelKeys = createCancelKeys(clock, log)
    const identities = createIdentities({ realm, view, clock, controlClock })
    const { waitingApi } = controlApi
    const signIns = createSignIns({ api: waitingApi, identities, clock, controlClock, limits })
    const metrics = createMetrics({
      sessions: () => countByProtocol(registry.all()),
      connections: () => connections.open,
      handshakes: () => connections.handshakes,
      signIns: () => signIns.pending,
      leaseAgeMs: () => freshness.leaseAgeMs(),
      feedPosition: () => view.position,
      clockSkewMs: () => controlClock.skewMs(),
      linkUp: () => link.state === 'up',
      spool: () => spool.figures(),
      shippingLagMs: () => shipper.figures().lagMs,
    })
    followView({ view, registry, clock })
    const isRefused = (): boolean => link.state === 'refused'
    closers.push(watchOutage({ registry, identities, freshness, isRefused, clock }))
    spool.onFailure((failure) => {
      const reason = failure.code === 'audit-full' ? 'audit-full' : 'audit-unwritable'
      log.error({ code: failure.code, error: failure.message }, 'the spool failed: cutting all')
      registry.cut(registry.all(), { reason, orderedAtMs: clock.wallMs(), detail: failure.message })
    })

    const peopleAuthoritiesPem = (): readonly string[] =>
      view.peopleAuthorities.length > 0
        ? view.peopleAuthorities
        : splitPem(identity.peopleAuthoritiesPem)
    const contexts = createTlsContexts({ domain, identity: () => identity, peopleAuthoritiesPem })
    view.onChange((change) => {
      if (change.kind !== 'people-authorities' && change.kind !== 'resynced') return
      try {
        contexts.reload()
      } catch (error) {
        log.error({ error: String(error) }, 'an authority of people cannot be used')
      }
    })
    const stores = options.stores ?? defaultStores(dataDir)
    let isDraining = false
    const shared = { spool, registry, startDial, clock, controlClock, limits, metrics, log }
    const createSession = createSessions({
      ...shared,
      createForwarder,
      stores,
      cancelKeys,
      certifySession: controlApi.certifySession,
    })
    const identify = limitIdentify(
      createIdentify({
        realm,
        demo: config.demo,
        authoritiesPem: peopleAuthoritiesPem,
        view,
        factsOf: (known) => identities.factsOf(known),
        clock,
      }),
      clock,
    )
    const identification = createIdentification({ ...shared, identify, identities, signIns, view })
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
        policy,
        createSession,
      }),
      isDraining: () => isDraining,
    })
    const gateFor = (remoteAddress: string): Gate => ({
      ...identification,
      admit: (arrival) => gate.admit(arrival),
      cancel: (key) => cancelKeys.run(key, remoteAddress),
    })
    const hostKeys =
      config.listen.ssh &&
      createHostKeys({
        ...{ dataDir, domain, group, view, clock, metrics, log, waitMs: limits.confirmMs },
        certify: controlApi.certifyHost,
      })
    if (hostKeys !== undefined) closers.push(hostKeys.start())

    const listeners: Partial<Record<ProtocolName, Listener>> = {}
    for (const protocol of protocolNames) {
      const address = config.listen[protocol]
      if (address === undefined) continue
      const listener = await openListener({
        engine: engines[protocol],
        address,
        gateFor,
        host: {
          tlsContext: (name) => contexts.contextFor(name),
          hostKeys: (...asked) => hostKeys?.hostKeys(...asked) ?? Promise.resolve(undefined),
          domain,
          clock,
          limits,
          log,
        },
        connections,
        clock,
        limits,
        metrics,
        log,
      })
      listeners[protocol] = listener
      closers.push(() => listener.close())
    }
    const isReady = () =>
      readinessChecks({
        control,
        spool,
        listeners: Object.values(listeners),
        isDraining,
        stateFailure: control.journal.failure,
      })
    const health = await openHealthServer({
      ...config.metrics,
      isAlive: () => ({ process: { ok: true, detail: 'runs' } }),
      isReady,
      metrics: async () => ({ contentType: metrics.contentType, text: await metrics.text() }),
      log,
    })
    closers.push(() => health.close())
    const stopRenewal = startRenewal({
      identity: () => identity,
      api: controlApi.api,
      renewed: (next) => {
        writeIdentity(dataDir, next)
        identity = next
        controlApi.renew(next)
        contexts.reload()
      },
      clock,
      log,
    })
    closers.push(stopRenewal)

    const isReadyNow = (): boolean => Object.values(isReady()).every((check) => check.ok)
    let stopping: Promise<void> | undefined
    const isStopping = (): boolean => stopping !== undefined
    const ports: RunningProxy['ports'] = Object.fromEntries(
      Object.entries(listeners).map(([protocol, { port }]) => [protocol, port]),
    )
    log.info({ proxyId, domain, ports, metricsPort: health.port }, 'the proxy is up')
    return {
      proxyId,
      domain,
      ports,
      metricsPort: health.port,
      isReady: isReadyNow,
      async ready() {
        while (!isStopping() && !isReadyNow()) await sleep(clock, readyPollMs)
      },
      get sessions() {
        return registry.size
      },
      stop(drainMs = limits.drainMs) {
        isDraining = true
        stopping ??= drain({
          registry,
          connections,
          listeners: Object.values(listeners),
          spool,
          shipper,
          drainMs,
          clock,
          limits,
          log,
        }).then(() => closeAll(closers, log))
        return stopping
      },
    }
  } catch (error) {
    await closeAll(closers, log)
    throw error
  }
}

/** In the opposite order of opening; one that fails does not keep the others open. */
async function closeAll(closers: (() => Promise<void> | void)[], log: Log): Promise<void> {
  for (const close of closers.splice(0).reverse()) {
    try {
      await close()
    } catch (error) {
      log.error({ error: String(error) }, 'something did not close well')
    }
  }
}

async function joinFirst(config: ProxyConfig, log: Log): Promise<ProxyIdentity> {
  const { joinTokenFile, controlUrl, name, demo, dataDir } = config
  if (joinTokenFile === undefined || !existsSync(joinTokenFile)) {
    const what = joinTokenFile === undefined ? 'no join token was given' : `no ${joinTokenFile}`
    throw new SallyportError('config-invalid', `${dataDir} has no identity and ${what}`, {
      clientMessage: `this proxy has not joined yet, and ${what}`,
      hint: 'make a token with: sally proxy join-token; pass its file with --join-token-file',
    })
  }
  const token = readPrivateFile(joinTokenFile).toString('utf8')
  const identity = await join({ controlUrl, token, name, demo, dataDir })
  log.info({ proxyId: identity.proxyId, group: identity.group }, 'joined')
  return identity
}

/** Signs checkpoints with the key of the certificate that is in use now. */
function currentSigner(identity: () => ProxyIdentity): Signer {
  let keyPem = ''
  let signer: Signer
  const present = (): Signer => {
    if (identity().clientKeyPem !== keyPem) {
      keyPem = identity().clientKeyPem
      signer = createKeySigner(createPrivateKey(keyPem))
    }
    return signer
  }
  return {
    get kid() {
      return present().kid
    },
    get algorithm() {
      return present().algorithm
    },
    get publicKey() {
      return present().publicKey
    },
    sign: (data) => present().sign(data),
  }
}

function defaultStores(dataDir: string): SecretStore[] {
  const { file, keyFile } = sealedSecretsIn(dataDir)
  return [createEnvStore(process.env), createSealedStore(file, keyFile)]
}

function countByProtocol(
  sessions: Iterable<{ labels: { protocol: ProtocolName } }>,
): Record<ProtocolName, number> {
  const counts = Object.fromEntries(protocolNames.map((name) => [name, 0])) as Record<
    ProtocolName,
    number
  >
  for (const { labels } of sessions) counts[labels.protocol] += 1
  return counts
}
