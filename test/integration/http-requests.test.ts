/** Requests through the engine to a real server: what arrives, what comes back, what is on record. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

let site: HttpSite
let echo: HttpSite['answer']

beforeAll(async () => {
  site = await startHttpSite({ gate: { level: 'write' } })
  echo = site.answer
})
afterAll(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  await site.close()
})
beforeEach(() => {
  site.answer = echo
  site.reached.length = 0
})
afterEach(() => {
  for (const record of site.gate.records) expect(record.outcomes).toHaveLength(1)
})

const lastRecord = () => site.gate.records.at(-1)!

test('a GET arrives as it was sent, and is on record with its outcome', async () => {
  const told = await site.ask({ path: '/pages/1?sort=asc&token=abc' })
  expect(told.status).toBe(200)
  expect(site.reached).toHaveLength(1)
  expect(site.reached[0]).toMatchObject({ method: 'GET', url: '/pages/1?sort=asc&token=abc' })
  await eventually(() => lastRecord().outcomes.length === 1)
  expect(lastRecord()).toMatchObject({
    kind: 'request',
    text: 'GET /pages/1?sort=asc&token=[redacted]',
    operation: 'GET',
    path: '/pages/1',
    redacted: true,
    outcomes: [{ status: 'ok', tag: '200' }],
  })
})

test('a POST arrives with its body', async () => {
  const told = await site.ask({ method: 'POST', path: '/form', body: 'a=1&b=2' })
  expect(told.status).toBe(200)
  expect(site.reached).toMatchObject([{ method: 'POST', url: '/form', body: 'a=1&b=2' }])
  await eventually(() => lastRecord().outcomes.length === 1)
  expect(lastRecord()).toMatchObject({
    text: 'POST /form',
    outcomes: [{ status: 'ok', tag: '200', bytesUp: 7 }],
  })
})
