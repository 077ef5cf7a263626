import { sleep, type Clock } from '../../protocols/kit/clock.ts'

const lookMs = 200

export interface Patience {
  readonly waitMs: number
  /** Ends the wait, never a look. */
  readonly signal: AbortSignal
}

/** Looks again and again until what is seen is enough, for up to `waitMs` or until the signal aborts; resolves with the last look. */
export async function lookUntil<Seen>(
  clock: Clock,
  { waitMs, signal }: Patience,
  look: () => Promise<Seen>,
  isEnough: (seen: Seen) => boolean,
): Promise<Seen> {
  const endMs = clock.monotonicMs() + waitMs
  for (;;) {
    const seen = await look()
    const leftMs = endMs - clock.monotonicMs()
    if (isEnough(seen) || leftMs <= 0 || signal.aborted) return seen
    await sleep(clock, Math.min(lookMs, leftMs), signal).catch(() => {})
  }
}
