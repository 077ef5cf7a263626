import { readFileSync } from 'node:fs'
import type { Clock, Timer } from '../protocols/kit/clock.ts'

const pollMs = 1_000

/**
 * Calls `run` when npm, which started us, is gone without having told us (kill -9). Does nothing where a shell started us: with
 * its end, a program in the background is meant to go on.
 */
export function whenNpmEnds(clock: Clock, run: () => void): Timer {
  const before = ancestors()
  let timer: Timer | undefined
  const look = (): void => {
    if (ancestors() === before) timer = clock.startTimer(pollMs, look)
    else run()
  }
  if (process.env['npm_lifecycle_event'] !== undefined && process.ppid !== 1) look()
  return { cancel: () => timer?.cancel() }
}

/** Our parent and, where /proc says it, its parent: between npm and us there is a shell, which npm does not take along. */
function ancestors(): string {
  const parent = process.ppid
  try {
    const status = readFileSync(`/proc/${parent}/status`, 'utf8')
    return `${parent} ${/^PPid:\s+(\d+)/m.exec(status)?.[1]}`
  } catch {
    return String(parent)
  }
}
