import type { Clock } from '../protocols/kit/clock.ts'

/** A terminal's Ctrl-C arrives twice under npm: from the terminal and from npm. */
const sameMs = 1_000

/** Aborts at the first SIGINT, SIGTERM or SIGHUP; a later one ends the process at once (its children follow). */
export function stopSignal(clock: Clock): AbortController {
  const controller = new AbortController()
  let firstAtMs: number | undefined
  const stop = (): void => {
    firstAtMs ??= clock.monotonicMs()
    if (clock.monotonicMs() - firstAtMs > sameMs) process.exit(130)
    controller.abort(new Error('stopped'))
  }
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop)
  return controller
}
