/**
 * Time as a parameter. This is the only file that may touch `Date.now`, `performance.now`
 * and `setTimeout`; everything else is handed a `Clock`, so that an eight-hour grant is tested in
 * a millisecond.
 */

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall clock in Unix milliseconds. May jump: never measure a duration with it. */
  wallMs(): number
  /** Monotonic clock in milliseconds (fractional) from an arbitrary origin. */
  monotonicMs(): number
  /** Calls `run` once after `delayMs` of monotonic time, whatever its length. */
  startTimer(delayMs: number, run: () => void): Timer
}

/** The longest delay one `setTimeout` takes (2^31 - 1 ms); longer waits are chained. */
const timeoutMsMax = 2_147_483_647

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  startTimer(delayMs, run) {
    const dueMs = performance.now() + delayMs
    let handle: NodeJS.Timeout
    const arm = (): void => {
      // Timers fire up to a millisecond early, because the event loop rounds; look again.
      const leftMs = dueMs - performance.now()
      if (leftMs <= 0) run()
      else handle = setTimeout(arm, Math.min(Math.ceil(leftMs), timeoutMsMax))
    }
    handle = setTimeout(arm, Math.min(Math.max(0, Math.ceil(delayMs)), timeoutMsMax))
    return { cancel: () => clearTimeout(handle) }
  },
}

/** A signal that aborts after `delayMs`. Cancel it when what it bounds is over: until then it keeps the process alive. */
export function startDeadline(clock: Clock, delayMs: number): Timer & { signal: AbortSignal } {
  const controller = new AbortController()
  const timer = clock.startTimer(delayMs, () => {
    controller.abort(new DOMException(`took longer than ${delayMs} ms`, 'TimeoutError'))
  })
  return { signal: controller.signal, cancel: () => timer.cancel() }
}

/** Resolves after `delayMs`; rejects with the signal's reason if it aborts first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error)
      return
    }
    const abort = (): void => {
      timer.cancel()
      reject(signal?.reason as Error)
    }
    const timer = clock.startTimer(delayMs, () => {
      signal?.removeEventListener('abort', abort)
      resolve()
    })
    signal?.addEventListener('abort', abort, { once: true })
  })
}
