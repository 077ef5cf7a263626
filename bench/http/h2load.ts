/** h2load (of nghttp2) as the client: requests per second of many connections, and how long one takes at a steady pace. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { percentile } from '../statistics.ts'
import type { Target } from './targets.ts'

export const h2loadProgram = 'h2load'

const run = promisify(execFile)
const connections = 32
/** HTTP/2: streams of one connection at a time. */
const streams = 10

export type HttpVersion = '1.1' | '2'

function argumentsFor(target: Target, version: HttpVersion): string[] {
  return [
    ...(version === '1.1' ? ['--h1', '-m1'] : [`-m${streams}`]),
    ...['-t1', `--connect-to=127.0.0.1:${target.port}`],
    ...Object.entries(target.headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]),
  ]
}

function urlOf({ hostname, port }: Target): string {
  return `https://${hostname}:${port}/small`
}

/** Requests per second; throws if any was answered with anything but success. */
export async function measureThroughput(
  target: Target,
  version: HttpVersion,
  seconds: number,
): Promise<{ requests: number; perSecond: number }> {
  const { stdout } = await run(
    h2loadProgram,
    [
      ...argumentsFor(target, version),
      ...[`-c${version === '1.1' ? connections : 4}`, `-D${seconds}`],
      urlOf(target),
    ],
    { timeout: (seconds + 60) * 1_000 },
  )
  const perSecond = Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(stdout)?.[1])
  const [, done, failed] = /(\d+) succeeded, (\d+) failed/.exec(stdout) ?? []
  const codes = /status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx/.exec(stdout)?.[1]
  if (!(perSecond > 0) || codes === undefined || Number(failed) > connections) {
    throw new Error(`${target.name} failed:\n${stdout}`)
  }
  return { requests: Number(done), perSecond }
}

/** Milliseconds of a request at a steady pace: median and 99th percentile. */
export async function measureLatency(
  target: Target,
  perSecond: number,
  seconds: number,
  directory: string,
): Promise<{ p50: number; p99: number }> {
  const clients = 4
  const log = join(directory, `h2load-${target.name}.log`)
  await run(
    h2loadProgram,
    [
      ...argumentsFor(target, '1.1'),
      ...[`-c${clients}`, `--rps=${perSecond / clients}`, `-n${perSecond * seconds}`],
      ...[`--log-file=${log}`, urlOf(target)],
    ],
    { timeout: (seconds + 60) * 1_000 },
  )
  // Start in microseconds, status, duration in microseconds.
  const lines = readFileSync(log, 'utf8').trim().split('\n').slice(clients)
  const times = lines.map((line) => Number(line.split('\t')[2]) / 1_000)
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) }
}

/** Sends exactly so many requests, all of which must succeed. */
export async function countRequests(target: Target, count: number): Promise<number> {
  const words = [...argumentsFor(target, '1.1'), `-c${connections}`, `-n${count}`, urlOf(target)]
  const { stdout } = await run(h2loadProgram, words, { timeout: 120_000 })
  if (!stdout.includes(`status codes: ${count} 2xx`)) throw new Error(`not all came:\n${stdout}`)
  return count
}
