/**
 * `npm start`: control and a proxy on this machine, for real. The first start signs its admin in (a home in the data directory)
 * and lets the proxy join; after that it keeps both running.
 */
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { systemClock as clock } from '../protocols/kit/clock.ts'
import { allocatorFile, allocatorPackage } from './allocator.ts'
import { awaitLeftovers, writePids } from './leftovers.ts'
import { lockDirectory } from './lock.ts'
import { whenNpmEnds } from './parent.ts'
import { printFailure } from './print-failure.ts'
import { preparePackages } from './prepare-packages.ts'
import { startSite } from './site.ts'
import { readStartOptions, startUsage, type StartOptions } from './start-options.ts'
import { stopSignal } from './stop-signals.ts'
import { createSupervisor } from './supervisor.ts'

process.exitCode = await main()

async function main(): Promise<number> {
  if (process.argv.includes('--help')) {
    console.log(startUsage)
    return 0
  }
  let options: StartOptions
  try {
    options = readStartOptions(process.argv.slice(2), process.env)
  } catch (error) {
    console.error(`error: ${(error as Error).message}\n\n${startUsage}`)
    return 2
  }
  const stopping = stopSignal(clock)
  const npm = whenNpmEnds(clock, () => stopping.abort(new Error('npm is gone')))
  try {
    await run(options, stopping.signal)
    return 0
  } catch (error) {
    if (stopping.signal.aborted) return 130
    printFailure(error)
    return 1
  } finally {
    npm.cancel()
  }
}

async function run(options: StartOptions, signal: AbortSignal): Promise<void> {
  const { directory } = options
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const lock = await lockDirectory(directory)
  await awaitLeftovers(directory, clock)
  const supervisor = createSupervisor({
    clock,
    announce,
    onPids: (pids) => writePids(directory, pids),
  })
  const abort = (): void => void supervisor.stop().catch(() => undefined)
  signal.addEventListener('abort', abort, { once: true })
  try {
    preparePackages(announce)
    const site = await startSite({
      directory,
      domain: options.domain,
      adminEmail: options.adminEmail,
      control: {
        ...options.control,
        flags: options.controlUrl === undefined ? [] : ['--url', options.controlUrl],
      },
      proxy: {
        listen: { postgres: options.postgres, ssh: options.ssh, http: options.http },
      },
      demo: false,
      supervisor,
      announce,
    })
    announce(`control answers at ${site.controlUrl}`)
    await site.startProxy()
    announce(`the proxy listens; ${options.adminEmail} is signed in at ${site.paths.adminHome}`)
    if (process.platform === 'linux' && allocatorFile() === undefined) {
      announce(
        `with Debian's ${allocatorPackage} the proxy needs less processor under load: apt-get install ${allocatorPackage}`,
      )
    }
    announce(
      `policy of the proxy, read at the start and at SIGHUP: ${site.paths.proxy}/policy.yaml; logs: ${site.paths.logs}`,
    )
    if (!signal.aborted) await once(signal, 'abort')
    announce('stopping: live sessions may finish what they do')
  } finally {
    await supervisor.stop()
    lock.close()
  }
}

function announce(line: string): void {
  console.log(`${new Date(clock.wallMs()).toISOString()} ${line}`)
}
