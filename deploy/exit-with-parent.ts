/**
 * Preloaded (`node --import`) into every process that the supervisor starts: when the supervisor is gone, however it went,
 * its end of our standard input closes, and so do we. Without it a `kill -9` of the supervisor would leave orphans.
 */
import { systemClock } from '../protocols/kit/clock.ts'

/** For an orderly end; what is not done by then is what recovery is for. */
const orphanMs = 3_000

process.stdin.on('end', leave)
process.stdin.on('close', leave)
process.stdin.on('error', leave)
process.stdin.resume()
// It must not keep the process alive: only the program itself may.
if ('unref' in process.stdin) process.stdin.unref()

let leaving = false
function leave(): void {
  if (leaving) return
  leaving = true
  systemClock.startTimer(orphanMs, () => process.kill(process.pid, 'SIGKILL'))
  process.kill(process.pid, 'SIGTERM')
}
