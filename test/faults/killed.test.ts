/**
 * kill -9 of the proxy and of control at random moments under load: every statement whose result a client saw is in
 * the store exactly once, and the chain verifies.
 */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ActivityView } from '../../control/api/shapes.ts'
import { eventually, startDemo, type DemoSite } from '../demo-site.ts'

const rounds = process.env['SALLYPORT_LONG'] === '1' ? 10 : 2
const clients = 6

let site: DemoSite

beforeAll(async () => {
  site = await startDemo()
})
afterAll(async () => {
  await site?.stop()
})

const connect = async (): Promise<Client> => {
  const home = site.home('dev')
  const client = new Client({
    host: site.ready.proxy.host,
    port: site.ready.proxy.ports.postgres,
    user: '~orders-db',
    database: 'shop',
    ssl: {
      servername: 'orders-db.access.localhost',
      ca: readFileSync(site.ready.caFile),
      cert: readFileSync(join(home, 'cert.pem')),
      key: readFileSync(join(home, 'key.pem')),
    },
  })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

/** Runs marked statements until told to stop; adds each marker whose result came back to `seen`. */
const load = async (round: string, index: number, seen: string[], stop: AbortSignal) => {
  let count = 0
  while (!stop.aborted) {
    try {
      const client = await connect()
      while (!stop.aborted) {
        const marker = `killed-${round}-${index}-${count++}-end`
        const { rows } = await client.query('select $1::text as marker, 1 as killed_load', [marker])
        expect(rows[0].marker).toBe(marker)
        seen.push(marker)
      }
      await client.end()
    } catch {
      await wait(100)
    }
  }
}

/**
 * The same with pgbench. It says each statement that a client sends, and a client sends its next one when it has the result of
 * the one before. A pgbench that lost its connections ends, and another one takes its place.
 */
const pgbenchLoad = async (round: string, seen: string[], stop: AbortSignal) => {
  const script = join(site.directory, `killed-${round}.sql`)
  writeFileSync(
    script,
    `\\set id random(1, 1000000000000000)\nselect 'killed-${round}-:id-end' as marker, 1 as killed_load;\n`,
  )
  while (!stop.aborted) {
    const pgbench = spawn(
      'pgbench',
      [
        ...['-n', '--debug', '-M', 'simple', '-c', String(clients), '-T', '600'],
        // As fast as it can is more than a search looks up in a minute.
        ...['-R', '300', '-f', script],
      ],
      {
        env: { ...process.env, ...site.libpq('dev', { PGUSER: 'dev' }) },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
    const end = (): boolean => pgbench.kill('SIGTERM')
    stop.addEventListener('abort', end)
    const sent = new Map<string, string>()
    for await (const line of createInterface({ input: pgbench.stderr })) {
      const [, client, marker] = /client (\d+) sending .*(killed-\w+-\d+-end)/.exec(line) ?? []
      if (client === undefined || marker === undefined) continue
      const before = sent.get(client)
      if (before !== undefined) seen.push(before)
      sent.set(client, marker)
    }
    stop.removeEventListener('abort', end)
    await wait(100)
  }
}

const stored = async (round: string): Promise<ActivityView[]> =>
  (
    await site.sallyJson<{ items: ActivityView[] }>(
      'auditor',
      ...['audit', 'search', 'killed_load', '--all'],
    )
  ).items.filter((one) => markerOf(one).startsWith(`killed-${round}-`))

/** From its parameter, or from the text itself. */
const markerOf = ({ parameters: [first], text }: ActivityView): string =>
  first?.form === 'text' ? first.value : (/killed-\w+-\d+-end/.exec(text)?.[0] ?? '')

const victims = ['proxy', 'control'] as const
const loads = ['library', 'pgbench'] as const

test.for(
  Array.from({ length: rounds }, (_, round) =>
    victims.map((victim) => ({
      round: `${round}${victim}`,
      victim,
      // Each victim under each load, in turn.
      kind: loads[(round + victims.indexOf(victim)) % loads.length]!,
    })),
  ).flat(),
)('round $round: kill -9 in the middle of $kind loses nothing that was seen', async (one) => {
  const { round, victim, kind } = one
  const seen: string[] = []
  const stop = new AbortController()
  const running =
    kind === 'pgbench'
      ? [pgbenchLoad(round, seen, stop.signal)]
      : Array.from({ length: clients }, (_, index) => load(round, index, seen, stop.signal))
  await eventually(
    () => seen.length,
    (count) => count > 50,
  )
  await wait(Math.random() * 1_500)
  process.kill(site.pid(victim), 'SIGKILL')
  const before = seen.length
  await eventually(
    () => seen.length,
    (count) => count > before + 50,
    60_000,
  )
  stop.abort()
  await Promise.all(running)
  // Control was perhaps the victim, and is on its way back.
  await eventually(
    () => site.sally('auditor', 'whoami'),
    ({ code }) => code === 0,
    60_000,
  )
  const mine = await eventually(
    () => stored(round),
    (found) => {
      const there = new Set(found.map(markerOf))
      return seen.every((marker) => there.has(marker))
    },
    60_000,
  )
  const times = new Map<string, number>()
  for (const activity of mine) {
    const marker = markerOf(activity)
    times.set(marker, (times.get(marker) ?? 0) + 1)
  }
  expect(seen.filter((marker) => times.get(marker) !== 1)).toEqual([])
  // A statement that was on its way when the proxy died has an outcome, if only `unknown`.
  await eventually(
    async () => (await stored(round)).filter(({ outcome }) => outcome === null).length,
    (open) => open === 0,
    30_000,
  )
  const { code, stdout, stderr } = await site.sally('auditor', 'audit', 'verify')
  expect({ code, stderr }, stdout).toMatchObject({ code: 0 })
})
