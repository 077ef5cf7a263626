/** kill -9 of the proxy amid requests: all that an app saw is on record afterwards, and nothing twice. And many sessions leave nothing behind. */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { SessionView } from '../../control/api/shapes.ts'
import { eventually } from '../demo-site.ts'
import {
  bearerOf,
  openHttp1,
  openHttp2,
  type Http1Client,
  type HttpEvidence,
} from '../fakes/http-clients.ts'
import { startWebApp, type WebApp } from '../fakes/web-app.ts'
import { startHttpStack, type HttpPerson, type HttpStack } from '../http-stack.ts'
import { runSally } from '../run-sally.ts'

const isLong = process.env['SALLYPORT_LONG'] === '1'
const kills = isLong ? 10 : 2
const sessionsMany = isLong ? 200 : 60
const requestsMany = isLong ? 200_000 : 3_000

let app: WebApp
let stack: HttpStack
let dev: HttpPerson
let evidence: HttpEvidence
const ends: (() => unknown)[] = []

beforeAll(async () => {
  app = await startWebApp()
  stack = await startHttpStack({
    apps: { wiki: { port: app.port, http: { rules: [{ path: '/**', needs: 'read' }] } } },
    // However slow the machine is.
    limits: { unusedSessionMs: 2_000, confirmMs: 20_000 },
  })
  dev = await stack.person('dev')
  await stack.grant(dev, 'wiki')
  evidence = bearerOf(await dev.token())
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
  await stack?.stop()
  await app?.close()
})

/** All that is on record of one person, oldest first. */
async function everything(person: HttpPerson) {
  const found: { text: string; status: string | undefined }[] = []
  let cursor: string | undefined
  do {
    const query = {
      ...{ person: person.email, limit: 1_000, order: 'oldest' as const },
      ...(cursor === undefined ? {} : { cursor }),
    }
    const page = await stack.api.call('auditSearch', { query })
    found.push(...page.items.map(({ text, outcome }) => ({ text, status: outcome?.status })))
    cursor = page.next ?? undefined
  } while (cursor !== undefined)
  return found
}

/** Asks one after the other until its connection ends. Returns how many were answered. */
async function askOn(
  ask: (path: string) => Promise<{ readonly status: number }>,
  name: string,
): Promise<number> {
  for (let number = 0; ; number++) {
    try {
      expect((await ask(`/${name}/${number}`)).status).toBe(200)
    } catch (error) {
      if (error instanceof Error && error.name === 'AssertionError') throw error
      return number
    }
  }
}

test('every request that the app saw before the proxy was killed is on record', async () => {
  for (let round = 0; round < kills; round++) {
    const before = app.arrived.length
    await eventually(
      async () => {
        const probe = openHttp1(stack, 'wiki', evidence)
        try {
          return (await probe.ask('/probe')).status
        } finally {
          probe.close()
        }
      },
      (status) => status === 200,
    )
    const clients: Http1Client[] = []
    const running: Promise<number>[] = []
    for (let index = 0; index < 4; index++) {
      const client = openHttp1(stack, 'wiki', evidence)
      clients.push(client)
      running.push(askOn((path) => client.ask(path), `killed/${round}/a${index}`))
    }
    const multiplexed = await openHttp2(stack, 'wiki', evidence)
    for (let index = 0; index < 8; index++) {
      running.push(askOn((path) => multiplexed.ask(path), `killed/${round}/b${index}`))
    }
    const waiting = multiplexed.start(`/never?killed/${round}/waits`)
    waiting.resume()
    await expect.poll(() => app.arrived.length - before).toBeGreaterThan(500)
    const pid = stack.pid('proxy')
    process.kill(pid, 'SIGKILL')
    const answered = await Promise.all(running)
    for (const client of clients) client.close()
    multiplexed.close()
    expect(answered.reduce((sum, each) => sum + each, 0)).toBeGreaterThan(100)
    // Its supervisor starts it again; what died with it is told by its next start.
    await eventually(
      () => stack.pid('proxy'),
      (now) => now !== pid,
    )
    const seen = app.arrived.map(({ url }) => url).filter((url) => url.includes(`killed/${round}/`))
    const records = await eventually(
      async () => (await everything(dev)).filter(({ text }) => text.includes(`killed/${round}/`)),
      (found) => found.length >= seen.length && found.every(({ status }) => status !== undefined),
      60_000,
    )
    const recorded = records.map(({ text }) => text.replace('GET ', ''))
    // Once each; a request that is on record and that the app never saw was on its way.
    expect(new Set(recorded).size).toBe(recorded.length)
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen.filter((url) => !recorded.includes(url))).toEqual([])
    expect(recorded.length - seen.length).toBeLessThanOrEqual(13)
    const waits = records.find(({ text }) => text.endsWith('/waits'))
    expect(waits!.status).toBe('unknown')
    for (const { status } of records) expect(['ok', 'unknown', 'cancelled']).toContain(status)
  }
  const home = { home: stack.site.adminHome.files.directory }
  const verified = await runSally(['audit', 'verify'], home)
  expect(verified.code, verified.stdout + verified.stderr).toBe(0)
})

const descriptors = (): number => readdirSync(`/proc/${stack.pid('proxy')}/fd`).length
/** Resident memory of the proxy, bytes. */
const memory = (): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${stack.pid('proxy')}/status`, 'utf8'))![1]) *
  1_024

test(`${sessionsMany} sessions at once and ${requestsMany} requests leave nothing behind`, async () => {
  // So many tokens has one person at most.
  const each = 20
  const people = await Promise.all(
    Array.from({ length: sessionsMany / each }, (_, index) => stack.person(`many-${index}`)),
  )
  for (const person of people) await stack.grant(person, 'wiki')
  const tokens = await Promise.all(
    people.flatMap((person) => Array.from({ length: each }, () => person.token())),
  )
  const warm = openHttp1(stack, 'wiki', evidence)
  await eventually(
    () => warm.ask('/warm'),
    ({ status }) => status === 200,
  )
  warm.close()
  await expect.poll(() => app.connections).toBe(0)
  const before = descriptors()
  const clients = tokens.map((token) => openHttp1(stack, 'wiki', bearerOf(token)))
  ends.push(() => clients.forEach((client) => client.close()))
  // Let in twenty at a time, as long as it takes; then all are there at once.
  for (let at = 0; at < clients.length; at += each) {
    const some = clients.slice(at, at + each)
    const told = await Promise.all(some.map((client) => client.ask('/many/first')))
    expect(new Set(told.map(({ status }) => status))).toEqual(new Set([200]))
  }
  const sessionsOf = (ready: (all: readonly SessionView[]) => boolean) =>
    Promise.all(people.map((person) => stack.sessions(person, ready)))
  const live = (await sessionsOf((all) => all.length >= each)).flat()
  expect(live.map(({ state }) => state)).toEqual(live.map(() => 'live'))
  expect(live).toHaveLength(sessionsMany)
  const half = requestsMany / 2 / sessionsMany
  const askAll = async (from: number): Promise<void> => {
    await Promise.all(
      clients.map(async (client, index) => {
        for (let number = 0; number < half; number++) {
          const { status } = await client.ask(`/many/${index}/${from + number}`)
          if (status !== 200) throw new Error(`${index} ${number}: ${status}`)
        }
      }),
    )
  }
  await askAll(0)
  const half1 = memory()
  await askAll(half)
  // Twice the requests need no more memory than once; some slack for when it is collected.
  expect(memory() - half1).toBeLessThan(96 * 1_024 * 1_024)
  for (const client of clients) client.close()
  await sessionsOf((all) => all.every(({ state }) => state === 'closed'))
  await expect.poll(() => app.connections).toBe(0)
  await expect.poll(() => descriptors() - before).toBeLessThanOrEqual(4)
  expect(app.arrived.filter(({ url }) => /^\/many\/\d+\//.test(url))).toHaveLength(requestsMany)
  // Asked for once, when it is all there: searches and the index want the same processor.
  await eventually(
    async () => {
      await wait(500)
      return (await stack.api.call('auditStatus', {})).proxies
    },
    ([proxy]) => proxy!.entriesReceived === proxy!.entriesIndexed,
    120_000,
  )
  const done = (await Promise.all(people.map(everything)))
    .flat()
    .filter(({ text }) => /\/many\/\d+\//.test(text))
  expect(done).toHaveLength(requestsMany)
  expect(new Set(done.map(({ text }) => text)).size).toBe(requestsMany)
  expect(new Set(done.map(({ status }) => status))).toEqual(new Set(['ok']))
})
