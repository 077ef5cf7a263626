/** Control away, with every process real: what is open goes on, who may begin still does, and nobody notices that it is back. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../demo-site.ts'
import {
  bearerOf,
  openChat,
  openHttp1,
  openHttp2,
  type HttpEvidence,
} from '../fakes/http-clients.ts'
import { startWebApp, type WebApp } from '../fakes/web-app.ts'
import { startHttpStack, type HttpPerson, type HttpStack } from '../http-stack.ts'

let app: WebApp
let stack: HttpStack
let dev: HttpPerson
let beside: HttpPerson
const ends: (() => unknown)[] = []

beforeAll(async () => {
  app = await startWebApp()
  const outage = (policy: 'keep' | 'hold' | 'cut') => ({
    port: app.port,
    resource: { outage: { policy, maxMs: 600_000, graceMs: 1_000 } },
  })
  stack = await startHttpStack({
    apps: { keeps: outage('keep'), holds: outage('hold'), cuts: outage('cut') },
    limits: { confirmMs: 700 },
  })
  ;[dev, beside] = await Promise.all([stack.person('dev'), stack.person('beside')])
  for (const name of ['keeps', 'holds', 'cuts']) {
    await stack.grant(dev, name)
    await stack.grant(beside, name)
  }
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
  await stack?.stop()
  await app?.close()
})

const statusOf = async (name: string, evidence: HttpEvidence, path = '/'): Promise<number> => {
  const client = openHttp1(stack, name, evidence)
  try {
    return (await client.ask(path)).status
  } finally {
    client.close()
  }
}

test('while control is away', async () => {
  const shown = bearerOf(await dev.token())
  const another = bearerOf(await dev.token())
  const held = openHttp1(stack, 'keeps', shown)
  const chat = await openChat(stack, 'keeps', '/chat', shown)
  const ended = await openChat(stack, 'cuts', '/chat', shown)
  const multiplexed = await openHttp2(stack, 'holds', shown)
  ends.push(
    () => held.close(),
    () => chat.socket.terminate(),
    () => ended.socket.terminate(),
    () => multiplexed.close(),
  )
  expect((await held.ask('/before')).status).toBe(200)
  expect((await multiplexed.ask('/before')).status).toBe(200)
  const events = multiplexed.start('/events')
  await new Promise((resolve) => events.once('data', resolve))
  const before = await stack.sessions(dev, (all) => all.length === 3)

  await stack.stopProcess('control')
  // What the resource says of an outage: this one takes its sessions along.
  expect(await ended.closed).toMatchObject({ code: 1008 })

  // What is open goes on, also where nothing new may begin.
  expect(await chat.say('still')).toBe('app got still')
  expect((await held.ask('/during')).status).toBe(200)
  expect((await multiplexed.ask('/during')).status).toBe(200)
  await new Promise((resolve) => events.once('data', resolve))
  // A session is many connections: a new one of a live session is no new session, and its token is known.
  expect(await statusOf('keeps', shown, '/during/lease')).toBe(200)
  // A new session: by certificate where the policy says so; only control knows tokens.
  expect(await statusOf('keeps', { certificate: beside }, '/during/new')).toBe(200)
  expect(await statusOf('keeps', another, '/during/token')).toBe(503)
  expect(await statusOf('holds', { certificate: beside }, '/during/held')).toBe(503)
  expect(await statusOf('cuts', { certificate: beside }, '/during/cut')).toBe(503)
  // A browser that would be sent to sign in is told instead.
  const stranger = openHttp1(stack, 'keeps', {})
  ends.push(() => stranger.close())
  const page = await stranger.ask('/during/page', { headers: { accept: 'text/html' } })
  expect(page.status).toBe(503)
  expect(page.text).toMatch(/control cannot be reached[^]*href="\/during\/page">Try again/)
  expect(app.arrived.map(({ url }) => url).filter((url) => url.startsWith('/during/'))).toEqual([
    '/during/lease',
    '/during/new',
  ])

  await stack.startProcess('control')
  await eventually(
    () => statusOf('keeps', another, '/back/token'),
    (status) => status === 200,
  )
  expect(await statusOf('holds', { certificate: beside }, '/back/held')).toBe(200)
  expect(await chat.say('again')).toBe('app got again')
  expect((await held.ask('/back')).status).toBe(200)
  await new Promise((resolve) => events.once('data', resolve))
  events.close()
  // It is all on record, in the sessions that there were.
  const during = await stack.activities(
    dev,
    (all) => all.filter(({ text }) => text.includes('/during')).length >= 3,
  )
  const known = new Set(before.map(({ id }) => id))
  for (const { text, sessionId } of during.filter((one) => one.text.includes('/during'))) {
    expect(known, text).toContain(sessionId)
  }
  const [admitted] = (await stack.sessions(beside, (all) => all.length >= 2)).filter(
    ({ resource }) => resource === 'keeps',
  )
  expect(admitted!.admittedBy).toBe('lease')
})
