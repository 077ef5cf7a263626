/** `node control/main.ts`; see read-options.ts for all flags. */
import { rmSync, writeSync } from 'node:fs'
import { SallyportError } from '../protocols/kit/errors.ts'
import { writePrivateFile } from '../protocols/kit/private-file.ts'
import { readOptions, usage, type MainOptions } from './read-options.ts'
import { startControl, type RunningControl } from './start-control.ts'

let isStopping = false

async function main(): Promise<void> {
  const given = readOptions(process.argv.slice(2), process.env)
  if (given === undefined) {
    process.stdout.write(`${usage}\n`)
    return
  }
  const control = await startControl({
    ...given.options,
    // A supervisor starts it again; a control without its store can only refuse.
    onLost: () => process.exit(1),
  })
  process.on('SIGTERM', () => stop(control, given))
  process.on('SIGINT', () => stop(control, given))
  announce(control, given)
}

function announce(control: RunningControl, { readyFile, readyFd }: MainOptions): void {
  const { url, port, operationsPort, adminHome } = control
  const line = `${JSON.stringify({ pid: process.pid, url, port, operationsPort, adminHome })}\n`
  if (readyFile !== undefined) writePrivateFile(readyFile, line)
  if (readyFd !== undefined) writeSync(readyFd, line)
}

/** The first signal drains; the second ends at once. */
function stop(control: RunningControl, { drainMs, readyFile }: MainOptions): void {
  if (isStopping) process.exit(1)
  isStopping = true
  if (readyFile !== undefined) rmSync(readyFile, { force: true })
  control.close(drainMs).then(
    () => process.exit(0),
    () => process.exit(1),
  )
}

try {
  await main()
} catch (error) {
  // For a person at a terminal: no stack trace, and what to do next.
  const known = error instanceof SallyportError
  const what = error instanceof Error ? error.message : String(error)
  process.stderr.write(`control: ${what}\n`)
  if (known && error.hint !== undefined) process.stderr.write(`  ${error.hint}\n`)
  process.exit(known && error.code === 'usage' ? 2 : 1)
}
