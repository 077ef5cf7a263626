/**
 * `npm run demo`: control, the proxy and a real PostgreSQL with a shop in it, on this machine, with people who are signed in.
 * Everything is marked as a demo's, and a server that is started for real refuses it.
 */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { systemClock as clock } from '../protocols/kit/clock.ts'
import { demoUsage, readDemoOptions, type DemoOptions } from './demo/options.ts'
import { writeReadyFile } from './demo/ready-file.ts'
import { runDemo } from './demo/run-demo.ts'
import { whatToTry } from './demo/what-to-try.ts'
import { whenNpmEnds } from './parent.ts'
import { printFailure } from './print-failure.ts'
import { stopSignal } from './stop-signals.ts'

const startedMs = clock.monotonicMs()
process.exitCode = await main()

async function main(): Promise<number> {
  const options = optionsOf(process.argv.slice(2))
  if (typeof options === 'number') return options
  const stopping = stopSignal(clock)
  const npm = whenNpmEnds(clock, () => stopping.abort(new Error('npm is gone')))
  const { readyFile } = options
  if (readyFile !== undefined) rmSync(readyFile, { force: true })
  try {
    const demo = await runDemo(options, { clock, announce, signal: stopping.signal })
    announce('everything is up\n')
    console.log(whatToTry(demo.ready, demo.hasStandIn))
    if (readyFile !== undefined) writeReadyFile(readyFile, demo.ready)
    if (!stopping.signal.aborted) await once(stopping.signal, 'abort')
    announce('stopping')
    if (readyFile !== undefined) rmSync(readyFile, { force: true })
    await demo.stop()
    announce('stopped')
    return 0
  } catch (error) {
    if (stopping.signal.aborted) return 130
    printFailure(error)
    return 1
  } finally {
    npm.cancel()
  }
}

function optionsOf(parameters: readonly string[]): DemoOptions | number {
  if (parameters.includes('--help')) {
    console.log(demoUsage)
    return 0
  }
  try {
    return readDemoOptions(parameters)
  } catch (error) {
    console.error(`error: ${(error as Error).message}\n\n${demoUsage}`)
    return 2
  }
}

/** A line of progress, with the seconds since the start. */
function announce(line: string): void {
  const seconds = ((clock.monotonicMs() - startedMs) / 1_000).toFixed(1)
  console.log(`[${seconds.padStart(5)} s] ${line}`)
}
