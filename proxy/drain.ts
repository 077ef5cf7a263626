import type { Log } from '../protocols/engine.ts'
import type { Clock } from '../protocols/kit/clock.ts'
import type { Limits } from '../protocols/kit/limits.ts'
import type { Shipper } from './audit/shipper.ts'
import type { Spool } from './audit/spool-types.ts'
import type { ConnectionLimits, Listener } from './listener.ts'
import type { Registry } from './sessions/registry.ts'
import { formatDuration } from '../control/api/duration.ts'

/** What the last audit may take to reach control; what does not is shipped by the next start. */
const flushMs = 2_000
/** After the farewells, for closing entries to be written and cancels to arrive. */
const closeMs = 5_000

export interface DrainOptions {
  readonly registry: Registry
  /** Ends sessions that wait for somebody to use them again. */
  readonly endUnused: () => void
  readonly connections: ConnectionLimits
  readonly listeners: readonly Listener[]
  readonly spool: Pick<Spool, 'close'>
  readonly shipper: Pick<Shipper, 'flush'>
  /** How long sessions may go on. */
  readonly drainMs: number
  readonly clock: Clock
  readonly limits: Pick<Limits, 'farewellMs'>
  readonly log: Log
}

/** Ends the proxy's work in order: no more connections, a notice, patience, cuts, the audit on its way. */
export async function drain(options: DrainOptions): Promise<void> {
  const { registry, connections, listeners, spool, shipper, drainMs, clock, limits, log } = options
  log.info({ sessions: registry.size, drainMs }, 'draining')
  for (const listener of listeners) listener.close()
  options.endUnused()
  if (registry.size > 0 && drainMs > 0) {
    for (const session of [...registry.all()]) {
      session.notify(
        `this proxy is being stopped: your session ends in ${formatDuration(drainMs)} at the latest`,
      )
    }
    await within(clock, drainMs, registry.empty())
  }
  if (registry.size > 0) {
    const order = { reason: 'proxy-draining', orderedAtMs: clock.wallMs(), detail: '' } as const
    registry.cut(registry.all(), order)
    await within(clock, limits.farewellMs + closeMs, registry.empty())
  }
  for (const connection of [...connections.connections]) connection.destroy()
  // Closed before the flush, so that the last word of this epoch reaches control too.
  await spool.close('stopped')
  await shipper.flush(clock.monotonicMs() + flushMs)
}

/** Resolves when `done` does, or after `timeoutMs`. */
async function within(clock: Clock, timeoutMs: number, done: Promise<void>): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = clock.startTimer(timeoutMs, resolve)
    void done.then(() => {
      timer.cancel()
      resolve()
    })
  })
}
