/** `node proxy/main.ts --control-url https://control:8443 --join-token-file FILE`; see config.ts for all flags. */
import { rmSync } from 'node:fs'
import { writePrivateFile } from '../certs/key-file.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import { readConfig } from './config.ts'
import { createLog } from './observe/log.ts'
import { startProxy, type RunningProxy } from './start-proxy.ts'

let isStopping = false
/** A SIGHUP that came before there was a proxy: its policy may have been read by then. */
let isReloadWanted = false
let running: RunningProxy | undefined

async function main(): Promise<void> {
  process.on('SIGHUP', () => {
    if (running === undefined) isReloadWanted = true
    else running.reloadPolicy()
  })
  const { config, readyFile } = readConfig(process.argv.slice(2), process.env)
  const log = createLog(config.logLevel)
  const proxy = await startProxy({ config, log })
  running = proxy
  if (isReloadWanted) proxy.reloadPolicy()
  process.on('SIGTERM', () => stop(proxy, readyFile))
  process.on('SIGINT', () => stop(proxy, readyFile))
  await proxy.ready()
  if (!isStopping && readyFile !== undefined) {
    const { proxyId, domain, ports, metricsPort } = proxy
    const ready = { pid: process.pid, proxyId, domain, ports, metricsPort }
    writePrivateFile(readyFile, `${JSON.stringify(ready)}\n`)
  }
}

/** The first signal drains; the second ends at once. */
function stop(proxy: RunningProxy, readyFile: string | undefined): void {
  if (isStopping) process.exit(1)
  isStopping = true
  if (readyFile !== undefined) rmSync(readyFile, { force: true })
  proxy.stop().then(
    () => process.exit(0),
    () => process.exit(1),
  )
}

try {
  await main()
} catch (error) {
  // What is wrong with the start is for a person at a terminal: no stack trace, and what to do next.
  const known = error instanceof SallyportError
  const what = known ? error.message : error instanceof Error ? error.message : String(error)
  process.stderr.write(`proxy: ${what}\n`)
  if (known && error.hint !== undefined) process.stderr.write(`  ${error.hint}\n`)
  process.exit(known && error.code === 'usage' ? 2 : 1)
}
