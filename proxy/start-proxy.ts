/**
 * Puts a proxy together and starts it: identity, state, spool, link, gate, listeners. The composition root knows the concrete
 * parts; everything below it is handed what it needs. Its rooms are in start/.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { protocolNames, type ProtocolName } from '../protocols/activity.ts'
import type { Log } from '../protocols/engine.ts'
import { sleep, systemClock, type Clock } from '../protocols/kit/clock.ts'
import type { ProxyConfig } from './config.ts'
import { createControlApi } from './control-link/control-api.ts'
import { openControlLink } from './control-link/open-control-link.ts'
import { drain } from './drain.ts'
import { keepRegistered, loadAssertionKeys } from './identity/assertion-keys.ts'
import { currentSigner } from './identity/current-signer.ts'
import { createIdentities } from './identity/identities.ts'
import { writeIdentity, type ProxyIdentity } from './identity/proxy-identity.ts'
import { startRenewal } from './identity/renewal.ts'
import { createSignIns } from './identity/sign-in.ts'
import { createConnectionLimits } from './listener.ts'
import { openHealthServer } from './observe/health-server.ts'
import { createLog } from './observe/log.ts'
import { createMetrics } from './observe/metrics.ts'
import { readinessChecks } from './observe/readiness.ts'
import { openPolicy } from './policy/open-policy.ts'
import { readVersion } from './read-version.ts'
import type { SecretStore } from './secrets/secret-store.ts'
import { followPolicy } from './sessions/follow-policy.ts'
import { followView } from './sessions/follow-view.ts'
import { createRegistry } from './sessions/registry.ts'
import { watchOutage } from './sessions/watch-outage.ts'
import { createClosers } from './start/closers.ts'
import { openAudit } from './start/open-audit.ts'
import { openGate } from './start/open-gate.ts'
import { openListeners } from './start/open-listeners.ts'
import { openTls } from './start/open-tls.ts'
import { shortcomings } from './start/shortcomings.ts'
import { takeIdentity } from './start/take-identity.ts'

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
  /** Reads the policy file again; a broken one changes nothing, and the log says what is wrong. */
  reloadPolicy(): void
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
  const closers = createClosers(log)
  try {
    let identity = await takeIdentity(config, log)
    const { proxyId, realm, domain } = identity
    const waitingMax = limits.signInsMax
    const controlApi = createControlApi({ controlUrl: config.controlUrl, identity, waitingMax })
    closers.push(() => controlApi.close())
    const policy = openPolicy(config.policyFile, log)

    const current = (): ProxyIdentity => identity
    const opening = { config, identity: current, controlApi, closers, clock, log }
    const { spool, shipper } = await openAudit(opening)
    const lacking = shortcomings(config)
    const warnings = (): string[] =>
      [...Object.values(lacking), policy.shortcoming].filter((each) => each !== undefined)
    for (const warning of warnings()) log.warn({}, warning)
    const control = await openControlLink({
      controlUrl: config.controlUrl,
      directory: join(dataDir, 'state'),
      identity: current,
      bootEpoch: spool.epoch,
      version: readVersion(),
      warnings,
      onConfirmed: (durationMs) => metrics.confirmed(durationMs),
      clock,
      limits,
      log,
    })
    closers.push(() => control.close())
    const { view, freshness, controlClock, link } = control

    const connections = createConnectionLimits(limits)
    const registry = createRegistry({ spool, limits })
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
      shortcomings: () => lacking,
      clockSkewMs: () => controlClock.skewMs(),
      policy: () => policy,
      linkUp: () => link.state === 'up',
      spool: () => spool.figures(),
      shippingLagMs: () => shipper.figures().lagMs,
    })
    followView({ view, registry, clock })
    followPolicy({ policy, registry, clock })
    const isRefused = (): boolean => link.state === 'refused'
    closers.push(watchOutage({ registry, identities, freshness, isRefused, clock }))
    spool.onFailure((failure) => {
      const reason = failure.code === 'audit-full' ? 'audit-full' : 'audit-unwritable'
      log.error({ code: failure.code, error: failure.message }, 'the spool failed: cutting all')
      registry.cut(registry.all(), { reason, orderedAtMs: clock.wallMs(), detail: failure.message })
    })

    const { contexts, peopleAuthoritiesPem } = openTls({ identity: current, view, log })
    let isDraining = false
    const assertionKeys = loadAssertionKeys(dataDir)
    if (config.listen.http !== undefined) {
      const { publicKey } = assertionKeys
      closers.push(keepRegistered({ publicKey, api: controlApi.api, clock, log }))
    }
    const shared = { config, identity, controlApi, clock, metrics, log }
    const deciding = { control, policy, spool, registry, identities, signIns }
    const { gateFor, endUnused } = openGate({
      ...shared,
      ...deciding,
      signer: currentSigner(current),
      assertionSigner: assertionKeys,
      peopleAuthoritiesPem,
      stores: options.stores,
      isDraining: () => isDraining,
    })
    const incoming = { gateFor, contexts, view, connections, closers }
    const listeners = await openListeners({ ...shared, ...incoming })
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
      identity: current,
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
      reloadPolicy() {
        policy.reload()
        control.tellWarnings()
      },
      stop(drainMs = limits.drainMs) {
        isDraining = true
        stopping ??= drain({
          registry,
          endUnused,
          connections,
          listeners: Object.values(listeners),
          spool,
          shipper,
          drainMs,
          clock,
          limits,
          log,
        }).then(() => closers.closeAll())
        return stopping
      },
    }
  } catch (error) {
    await closers.closeAll()
    throw error
  }
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
