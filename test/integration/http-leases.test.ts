/** What becomes of requests when the session, the client or the connection under them is gone at an awkward moment. */
import { getEventListeners } from 'node:events'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Session } from '../../protocols/session.ts'
import { httpTerms } from '../fakes/http-app.ts'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

let site: HttpSite
let client: ClientHttp2Session
beforeEach(async () => {
  const limits = { ...httpTerms().limits, requestsMax: 1 }
  site = await startHttpSite({ terms: { limits } })
  const socket = await site.connect(`wiki.${domain}`, ['h2'])
  client = connectHttp2(`https://wiki.${domain}`, {
    ...{ ca: site.certificates.caPem, checkServerIdentity: () => undefined },
    createConnection: () => socket,
  })
})
afterEach(async () => {
  client.destroy()
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  for (const record of site.gate.records) expect(record.outcomes).toHaveLength(1)
  await site.close()
})

const ask = (path: string) =>
  client.request({ ':path': path, authorization: `Bearer ${apiToken}` }).on('error', () => {})

async function status(path: string): Promise<unknown> {
  const stream = ask(path).resume()
  const answered = new Promise((resolve) => {
    stream.once('response', (headers) => resolve(headers[':status']))
    stream.once('close', () => resolve('closed'))
  })
  const closed = new Promise((resolve) => stream.once('close', resolve))
  const told = await answered
  await closed
  return told
}

const opening =
  `GET /live HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n` +
  'Upgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'

test('a session that cannot be recorded any more refuses what comes on a kept connection', async () => {
  expect(await status('/')).toBe(200)
  site.gate.sessions[0]!.report = () => {
    throw new SallyportError('audit-unwritable', 'no disk')
  }
  expect(await status('/')).toBe(503)
  expect(await site.raw(opening)).toContain('HTTP/1.1 503 ')
  expect(site.reached).toHaveLength(1)
})

test.each([
  ['a request', async () => expect(await status('/')).toBe(403)],
  [
    'a WebSocket',
    async () => expect(await site.raw(opening)).toContain('"reason":"grant-revoked"'),
  ],
])('%s between a cut and its words is told of the cut', async (_what, ask) => {
  expect(await status('/')).toBe(200)
  const session = site.gate.sessions[0]!
  session.report = () => {
    session.beginCut()
    setImmediate(() => session.cut('grant-revoked'))
    return 0
  }
  session.assertion = () => {
    throw new SallyportError('access-denied', 'cut')
  }
  await ask()
  expect(site.reached).toHaveLength(1)
})

test('who leaves while the gate is asked counts no more', async () => {
  const asked = Promise.withResolvers<void>()
  const mayGoOn = Promise.withResolvers<void>()
  const lease = site.gate.lease.bind(site.gate)
  site.gate.lease = async (arrival): Promise<Session> => {
    asked.resolve()
    await mayGoOn.promise
    return lease(arrival)
  }
  const events = ask('/.sallyport/events')
  await asked.promise
  events.close()
  // Answered once what came before it was read.
  await new Promise((resolve) => client.ping(resolve))
  mayGoOn.resolve()
  // One at a time, by this resource's limit.
  expect(await status('/')).toBe(200)
})

test('a session that goes on keeps nothing of the connections that are over', async () => {
  const events = ask('/.sallyport/events')
  await new Promise((resolve) => events.once('response', resolve))
  const { signal } = site.gate.sessions[0]!
  const before = getEventListeners(signal, 'abort').length
  for (let index = 0; index < 5; index++) expect((await site.ask({})).status).toBe(429)
  await eventually(() => site.server.serving === 1)
  expect(site.gate.sessions).toHaveLength(1)
  expect(getEventListeners(signal, 'abort')).toHaveLength(before)
})
