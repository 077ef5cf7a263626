/** Everything between this proxy and control but the audit: view, journal, freshness, feed and confirmations, wired. */
import { isDeepStrictEqual } from 'node:util'
import type { Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import { createControlView, type ControlView } from '../grants/control-view.ts'
import { createFreshness, type Freshness } from '../grants/freshness.ts'
import { openStateJournal, type StateJournal } from '../grants/state-journal.ts'
import type { ProxyIdentity } from '../identity/proxy-identity.ts'
import { createConfirmations, type Confirmations } from './confirmations.ts'
import { createControlClock, type ControlClock } from './control-clock.ts'
import { createFeedReader } from './feed-reader.ts'
import { openLink, type Link } from './link.ts'

export interface ControlLinkOptions {
  readonly controlUrl: string
  /** Where the state is kept. */
  readonly directory: string
  readonly identity: () => ProxyIdentity
  /** The spool's. */
  readonly bootEpoch: string
  readonly version: string
  /** What its operator should mend now: control shows it. */
  readonly warnings: () => readonly string[]
  readonly onConfirmed: (durationMs: number) => void
  readonly clock: Clock
  readonly limits: Pick<Limits, 'confirmMs'>
  readonly log: Log
}

export interface ControlLink {
  readonly view: ControlView
  readonly journal: StateJournal
  readonly freshness: Freshness
  readonly controlClock: ControlClock
  readonly confirmations: Confirmations
  readonly link: Link
  /** Tells control what there is to mend, if that is another than it was told. */
  tellWarnings(): void
  close(): Promise<void>
}

export async function openControlLink(options: ControlLinkOptions): Promise<ControlLink> {
  const { directory, identity, clock, limits, log } = options
  const { proxyId, realm } = identity()
  const view = createControlView(log)
  const controlClock = createControlClock(clock)
  const journal = await openStateJournal({ directory, proxyId, view, clock, log })
  const freshness = await createFreshness({
    directory,
    realm,
    proxyId,
    view,
    clock,
    controlClock,
    onDisk: () => journal.position,
    log,
  })
  const confirmations = createConfirmations({
    clock,
    confirmMs: limits.confirmMs,
    send: (message) => link.send(message),
    onAnswered: options.onConfirmed,
  })
  const reader = createFeedReader({
    proxyId,
    view,
    journal,
    freshness,
    confirmations,
    clock,
    controlClock,
    send: (message) => void link.send(message),
    onViolation: (why) => link.drop(why),
    log,
  })
  let told: string[] = []
  const link = openLink({
    controlUrl: options.controlUrl,
    tls: () => {
      const { controlAuthorityPem, clientCertificatePem, clientKeyPem } = identity()
      return {
        authorityPem: controlAuthorityPem,
        certificatePem: clientCertificatePem,
        privateKeyPem: clientKeyPem,
      }
    },
    // Not before all is applied and written that the last connection brought: then the position is whole.
    hello: async () => {
      await reader.idle()
      told = [...options.warnings()]
      return {
        kind: 'hello',
        cursor: view.position,
        version: options.version,
        bootEpoch: options.bootEpoch,
        // A control that does not know the word need not learn it for nothing.
        ...(told.length === 0 ? {} : { warnings: told }),
      }
    },
    onMessage: (message) => reader.take(message),
    onLost: (why) => {
      reader.restart()
      confirmations.lost(why)
    },
    onState: (state) => log.info({ state }, 'link to control'),
    clock,
    log,
  })
  return {
    view,
    journal,
    freshness,
    controlClock,
    confirmations,
    link,
    tellWarnings() {
      const warnings = [...options.warnings()]
      // Without a link the next hello has them.
      if (isDeepStrictEqual(warnings, told)) return
      if (link.send({ kind: 'warnings', warnings }) === 'sent') told = warnings
    },
    async close() {
      link.close()
      await reader.idle()
      await journal.close()
    },
  }
}
