/** Control as a process of its own, which can be killed. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { openApi } from '../../control/cli/with-api.ts'
import { readHome } from '../../control/cli/home.ts'
import type { ApiClient } from '../../control/api/client.ts'
import { sleep, systemClock } from '../../protocols/kit/clock.ts'
import { seedStores } from '../seed-stores.ts'

const main = join(import.meta.dirname, '../../control/main.ts')

export interface ControlProcess {
  readonly child: ChildProcess
  readonly url: string
  readonly output: () => string
  openAdmin(): ApiClient
  /** Ends it and resolves with its exit code, or the signal's name. */
  end(signal: NodeJS.Signals): Promise<number | string>
}

export interface ProcessOptions {
  readonly directory: string
  readonly flags?: readonly string[]
  readonly environment?: NodeJS.ProcessEnv
}

/** For what hangs: a first start makes its store, which takes over a minute on a machine that others use. */
const startMsMax = 180_000

export function spawnControl({ directory, flags = [], environment = {} }: ProcessOptions) {
  const ready = join(directory, 'ready.json')
  rmSync(ready, { force: true })
  const child = spawn(
    process.execPath,
    [
      main,
      ...['--data-dir', join(directory, 'control'), '--listen', '127.0.0.1:0'],
      ...['--metrics-listen', '127.0.0.1:0', '--ready', ready],
      ...['--bootstrap-admin', 'admin@example.test', '--bootstrap-home', join(directory, 'home')],
      ...flags,
    ],
    { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return { child, ready, output: () => output }
}

/** Rejects with what it printed if it does not come up. */
export async function startControlProcess(options: ProcessOptions): Promise<ControlProcess> {
  const data = join(options.directory, 'control')
  if (!existsSync(data)) await seedStores(join(data, 'store'))
  const { child, ready, output } = spawnControl(options)
  const untilMs = systemClock.monotonicMs() + startMsMax
  while (!existsSync(ready)) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(output())
    if (systemClock.monotonicMs() > untilMs) {
      child.kill('SIGKILL')
      throw new Error(`not ready in time: ${output()}`)
    }
    await sleep(systemClock, 20)
  }
  const { url } = JSON.parse(readFileSync(ready, 'utf8')) as { url: string }
  return {
    child,
    url,
    output,
    openAdmin: () => openApi(readHome({ SALLY_HOME: join(options.directory, 'home') })),
    async end(signal) {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit')
        child.kill(signal)
        await exited
      }
      return child.exitCode ?? child.signalCode!
    },
  }
}

/** Runs it to its end: for starts that are refused. */
export async function runControl(options: ProcessOptions): Promise<{ code: number; text: string }> {
  const { child, output } = spawnControl(options)
  const timer = systemClock.startTimer(startMsMax, () => child.kill('SIGKILL'))
  await once(child, 'exit')
  timer.cancel()
  return { code: child.exitCode ?? -1, text: output() }
}
