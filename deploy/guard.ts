/**
 * `node guard.ts <uid> <gid> <stop signal> <program> <arguments…>`: runs a program that is not ours, as another
 * user if the ids are not 0, and ends it when our standard input closes, as `exit-with-parent.ts` does for our own programs.
 */
import { spawn } from 'node:child_process'
import { systemClock } from '../protocols/kit/clock.ts'

const orphanMs = 3_000

const [uid, gid, stopSignal, program, ...programArguments] = process.argv.slice(2)
const child = spawn(program!, programArguments, {
  stdio: ['ignore', 'inherit', 'inherit'],
  // Its directory must be one that the other user may enter.
  cwd: '/',
  ...(Number(uid) > 0 ? { uid: Number(uid), gid: Number(gid) } : {}),
})
child.on('error', (error) => {
  console.error(`${program}: ${error.message}`)
  process.exit(127)
})
child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)))

const stop = (): void => {
  child.kill(stopSignal as NodeJS.Signals)
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
process.stdin.on('end', orphaned)
process.stdin.on('error', orphaned)
process.stdin.resume()

function orphaned(): void {
  stop()
  systemClock.startTimer(orphanMs, () => child.kill('SIGKILL'))
}
