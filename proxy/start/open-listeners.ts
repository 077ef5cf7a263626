import { protocolNames, type ProtocolName } from '../../protocols/activity.ts'
import type { Gate, Log } from '../../protocols/engine.ts'
import { engines } from '../../protocols/index.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { ProxyConfig } from '../config.ts'
import type { ControlApi } from '../control-link/control-api.ts'
import type { ControlView } from '../grants/control-view.ts'
import { createHostKeys } from '../identity/host-keys.ts'
import type { ProxyIdentity } from '../identity/proxy-identity.ts'
import { openListener, type ConnectionLimits, type Listener } from '../listener.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Closers } from './closers.ts'
import type { Tls } from './open-tls.ts'

export type Listeners = Readonly<Partial<Record<ProtocolName, Listener>>>

export interface OpenListenersOptions {
  readonly config: ProxyConfig
  readonly identity: Pick<ProxyIdentity, 'group' | 'domain'>
  readonly gateFor: (remoteAddress: string, protocol: ProtocolName) => Gate
  readonly contexts: Tls['contexts']
  readonly view: ControlView
  readonly controlApi: Pick<ControlApi, 'certifyHost'>
  readonly connections: ConnectionLimits
  readonly closers: Closers
  readonly clock: Clock
  readonly metrics: Metrics
  readonly log: Log
}

/** A listener for each protocol that has an address, with what its engine shows to clients. */
export async function openListeners(options: OpenListenersOptions): Promise<Listeners> {
  const { config, gateFor, contexts, view, connections, closers, clock, metrics, log } = options
  const { dataDir, limits } = config
  const { group, domain } = options.identity
  const hostKeys =
    config.listen.ssh &&
    createHostKeys({
      ...{ dataDir, domain, group, view, clock, metrics, log, waitMs: limits.confirmMs },
      certify: options.controlApi.certifyHost,
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
        refused: (code) => metrics.refused(protocol, code),
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
  return listeners
}
