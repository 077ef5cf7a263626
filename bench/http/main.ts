/**
 * `npm run bench:http -- [--quick] [--json]`: one app directly, through nginx as a reverse proxy (one worker, no log) and through a real proxy
 * with a real control and every request in the audit, on one machine, all with the same TLS. See bench/options.ts.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Grant } from '../../control/api/shapes.ts'
import { createSupervisor } from '../../deploy/supervisor.ts'
import { sleep, systemClock as clock } from '../../protocols/kit/clock.ts'
import { missingPackages } from '../../test/debian-packages.ts'
import { httpDomain, startHttpStack, type HttpStack } from '../../test/http-stack.ts'
import { startWebApp } from '../../test/fakes/web-app.ts'
import { announce } from '../announce.ts'
import { cpuUs } from '../process-usage.ts'
import { runBench } from '../run-bench.ts'
import { measureCuts } from './cuts.ts'
import { countRequests, measureLatency, measureThroughput } from './h2load.ts'
import { startNginx } from './nginx.ts'
import { sizes, type BenchOptions } from './options.ts'
import { reportOf, type LatencySample, type Measured, type MessageSample } from './report.ts'
import type { RequestSample } from './report.ts'
import { targetNames, type Target } from './targets.ts'
import { measureMemory, measureMessages, startEcho } from './websocket.ts'

const app = 'wiki'
/** Whose answers last. */
const streams = 'streams'
const hoursMs = 2 * 3_600_000
const storedMsMax = 60_000

process.exitCode = await runBench({
  name: 'http',
  targets: targetNames,
  sizes,
  missing: () => missingPackages().filter((name) => /^(?:nginx|nghttp2)/.test(name)),
  async measure(options) {
    const measured = await measure(options)
    const { sent, stored } = measured.completeness
    return { report: reportOf(measured), complete: sent === stored }
  },
})

async function measure(options: BenchOptions): Promise<Measured> {
  const scratch = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  const supervisor = createSupervisor({ clock, announce })
  announce('starting nginx, control and the proxy')
  const echo = await startEcho()
  const streaming = await startWebApp()
  const nginx = await startNginx({
    ...{ directory: scratch, socketPort: echo.port, supervisor, clock },
  })
  const stack = await startHttpStack({
    apps: {
      [app]: {
        port: nginx.appPort,
        http: {
          rules: [{ path: '/**', needs: 'read' }],
          limits: { requestsMax: 2 * options.idleWebSockets + 100 },
        },
      },
      [streams]: {
        port: streaming.port,
        http: { rules: [{ path: '/**', needs: 'read' }] },
      },
    },
    environment: { NODE_ENV: 'production' },
  })
  try {
    const person = await stack.person('bench')
    const grant = await stack.grant(person, app, { forMs: hoursMs })
    const { hostname, authorityPem: caPem } = nginx
    const direct = { name: 'direct', port: nginx.directPort, hostname, caPem } as const
    const proxied = { name: 'nginx', port: nginx.proxyPort, hostname, caPem } as const
    const sallyport: Target = {
      ...{ name: 'sallyport', port: stack.httpPort, hostname: `${app}.${httpDomain}` },
      caPem: readFileSync(stack.caFile, 'utf8'),
      headers: { authorization: `Bearer ${await person.token(hoursMs)}` },
      pid: () => stack.pid('proxy'),
    }
    const targets: Target[] = [
      { ...direct, headers: {}, pid: () => undefined },
      { ...proxied, headers: {}, pid: () => nginx.pid() },
      sallyport,
    ]

    announce(`memory of ${options.idleWebSockets} idle WebSockets of nginx, then of ours`)
    const memoryKb = {
      nginx: await measureMemory(targets[1]!, options.idleWebSockets, clock),
      sallyport: await measureMemory(sallyport, options.idleWebSockets, clock),
    }
    for (const target of targets) await measureThroughput(target, '1.1', options.warmUpSeconds)
    const requests = await measureRequests(targets, options)
    const latency = await measureLatencies(targets, options, scratch)
    const messages = await measureAllMessages(targets.slice(1), options)
    await stack.api.call('grantRevoke', { params: { id: grant.id }, body: { reason: 'done' } })
    const cuts = await measureCuts(stack, person, streams, options.cutRounds, clock)

    announce(`completeness: ${options.countedRequests} requests`)
    const counted = await stack.grant(person, app, { forMs: hoursMs })
    const sent = await countRequests(sallyport, options.countedRequests)
    await stack.api.call('grantRevoke', { params: { id: counted.id }, body: { reason: 'done' } })
    const stored = await requestsStored(stack, counted)
    announce(`${sent} requests sent, ${stored} in the audit`)
    return { requests, latency, messages, memoryKb, cuts, completeness: { sent, stored } }
  } finally {
    await stack.stop()
    await supervisor.stop()
    echo.close()
    await streaming.close()
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** Each target once in each round, beginning with another one each time: what the machine does besides hits all of them. */
async function measureRequests(
  targets: readonly Target[],
  options: BenchOptions,
): Promise<RequestSample[]> {
  const samples: RequestSample[] = []
  for (let round = 0; round < options.rounds; round += 1) {
    for (const version of ['1.1', '2'] as const) {
      for (let index = 0; index < targets.length; index += 1) {
        const target = targets[(index + round) % targets.length]!
        // The app speaks HTTP/1.1 only: the share of HTTP/2 is the client's side.
        if (target.name === 'direct' && version === '2') continue
        const pid = target.pid()
        const before = pid === undefined ? 0 : cpuUs(pid)
        const { requests, perSecond } = await measureThroughput(
          target,
          version,
          options.secondsPerRun,
        )
        const cpuUsPerRequest = pid === undefined ? undefined : (cpuUs(pid) - before) / requests
        samples.push({ round, target: target.name, version, perSecond, cpuUsPerRequest })
        announce(`round ${round + 1}: HTTP/${version} ${target.name}: ${Math.round(perSecond)}/s`)
      }
    }
  }
  return samples
}

async function measureLatencies(
  targets: readonly Target[],
  options: BenchOptions,
  directory: string,
): Promise<LatencySample[]> {
  announce(`latency at ${options.steadyPerSecond} requests a second`)
  const samples: LatencySample[] = []
  for (let round = 0; round < options.rounds; round += 1) {
    for (const target of targets) {
      const { steadyPerSecond, secondsPerRun } = options
      const times = await measureLatency(target, steadyPerSecond, secondsPerRun, directory)
      samples.push({ round, target: target.name, ...times })
    }
  }
  return samples
}

async function measureAllMessages(
  targets: readonly Target[],
  options: BenchOptions,
): Promise<MessageSample[]> {
  announce('messages of WebSockets')
  const samples: MessageSample[] = []
  for (let round = 0; round < options.rounds; round += 1) {
    for (const target of targets) {
      const { webSockets, messagesPerWebSocket } = options
      const perSecond = await measureMessages(target, webSockets, messagesPerWebSocket, clock)
      samples.push({ round, target: target.name, perSecond })
    }
  }
  return samples
}

/** Requests that control has for all sessions under a grant, once they are closed there. */
async function requestsStored(stack: HttpStack, grant: Grant): Promise<number> {
  const deadlineMs = clock.monotonicMs() + storedMsMax
  for (;;) {
    const { items } = await stack.api.call('sessions', { query: { grant: grant.id, limit: 1_000 } })
    if (items.length > 0 && items.every(({ state }) => state === 'closed')) {
      return items.reduce((sum, view) => sum + view.statements, 0)
    }
    if (clock.monotonicMs() > deadlineMs) throw new Error('sessions are still open in control')
    await sleep(clock, 200)
  }
}
