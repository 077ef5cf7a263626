/**
 * kill -9 of the proxy and of control at random moments under load: every statement whose result a client saw is in
 * the store exactly once, and the chain verifies.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
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

const stored = async (): Promise<ActivityView[]> =>
  (
    await site.sallyJson<{ items: ActivityView[] }>(
      'auditor',
      ...['audit', 'search', 'killed_load', '--all'],
    )
  ).items

test.for(
  Array.from({ length: rounds }, (_, round) => [
    `${round}p`,
    'proxy' as const,
    `${round}c`,
    'control' as const,
  ]).flatMap(([a, b, c, d]) => [
    [a, b],
    [c, d],
  ]) as [string, 'proxy' | 'control'][],
)('round %s: the %s is killed and nothing that was seen is lost', async ([round, victim]) => {
  const seen: string[] = []
  const stop = new AbortController()
  const loads = Array.from({ length: clients }, (_, index) => load(round, index, seen, stop.signal))
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
  await Promise.all(loads)
  // Control was perhaps the victim, and is on its way back.
  await eventually(
    () => site.sally('auditor', 'whoami'),
    ({ code }) => code === 0,
    60_000,
  )
  const mine = await eventually(
    async () =>
      (await stored()).filter((one) =>
        one.parameters.some(
          (each) => each.form === 'text' && each.value.startsWith(`killed-${round}-`),
        ),
      ),
    (found) => found.length >= seen.length,
    60_000,
  )
  const times = new Map<string, number>()
  for (const { parameters } of mine) {
    const [marker] = parameters
    const value = marker?.form === 'text' ? marker.value : ''
    times.set(value, (times.get(value) ?? 0) + 1)
  }
  expect(seen.filter((marker) => times.get(marker) !== 1)).toEqual([])
  // A statement that was on its way when the proxy died has an outcome, if only `unknown`.
  await eventually(
    async () => (await stored()).filter((one) => one.outcome === null).length,
    (open) => open === 0,
    30_000,
  )
  const { code, stdout, stderr } = await site.sally('auditor', 'audit', 'verify')
  expect({ code, stderr }, stdout).toMatchObject({ code: 0 })
})
