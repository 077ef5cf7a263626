/** What the engine bounds: sizes, times, numbers; and which of several grants a request goes under. */
import { randomBytes } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import type { HttpTerms } from '../../protocols/session.ts'
import { httpTerms } from '../fakes/http-app.ts'
import { apiToken, domain, readTold, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

let site: HttpSite
afterEach(async () => {
  for (const session of site.gate.sessions) if (!session.signal.aborted) session.cut()
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  for (const record of site.gate.records) expect(record.outcomes).toHaveLength(1)
  await site.close()
})

async function start(
  limits: Partial<HttpTerms['limits']> = {},
  more: { proxy?: Partial<Limits>; terms?: Partial<HttpTerms> } = {},
): Promise<void> {
  site = await startHttpSite({
    gate: { level: 'write' },
    terms: { limits: { ...httpTerms().limits, ...limits }, ...more.terms },
    ...(more.proxy === undefined ? {} : { limits: more.proxy }),
  })
}
const anyToken = (): string => `spa_${randomBytes(24).toString('base64url')}`
const head = (method: string, path: string, more = ''): string =>
  `${method} ${path} HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n${more}`
/** What a slow client is told before it is let go. */
async function slowly(bytes: string, more: string): Promise<string> {
  const socket = await site.connect()
  let told = ''
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => (told += chunk.toString()))
  const timer = setInterval(() => socket.write(more), 20)
  socket.write(bytes)
  await new Promise((resolve) => socket.once('close', resolve))
  clearInterval(timer)
  return told
}

test('a header larger than the app takes', async () => {
  await start({ headerBytesMax: 1_024 })
  expect((await site.ask({ headers: { 'X-Big': 'x'.repeat(500) } })).status).toBe(200)
  expect((await site.ask({ headers: { 'X-Big': 'x'.repeat(1_000) } })).status).toBe(431)
  expect((await site.ask({ headers: { 'X-Huge': 'x'.repeat(300_000) } })).status).toBe(431)
  expect(site.reached).toHaveLength(1)
})

test('a body larger than the app takes, whether its length is said or not', async () => {
  await start({ bodyBytesMax: 10 })
  expect((await site.ask({ method: 'POST', body: 'x'.repeat(10) })).status).toBe(200)
  expect((await site.ask({ method: 'POST', body: 'x'.repeat(11) })).status).toBe(413)
  expect(site.reached).toHaveLength(1)
  const chunked = head('POST', '/', 'Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n')
  expect(readTold(await site.raw(`${chunked}8\r\n12345678\r\n0\r\n\r\n`)).status).toBe(413)
  // It may have begun, but never arrives whole.
  expect(site.reached.filter(({ complete }) => complete)).toHaveLength(1)
})

test('an app that does not answer', async () => {
  await start({ answerMs: 100 })
  site.answer = () => {}
  const told = await site.ask({ path: '/slow' })
  expect(told.status).toBe(504)
  const { sessionId } = site.gate.sessions[0]!.labels
  const logged = site.server.logged.find(({ message }) => message.includes('at its app'))
  expect(logged).toMatchObject({ level: 'warn', fields: { sessionId, code: 'upstream-timeout' } })
})

test('so many requests of one session at a time, and more once one is over', async () => {
  await start({ requestsMax: 2 })
  const waiting: (() => void)[] = []
  site.answer = (_request, response) => void waiting.push(() => response.end('ok'))
  const asked = [site.ask({}), site.ask({})]
  await eventually(() => waiting.length === 2)
  const over = await site.ask({})
  expect([over.status, over.headers.get('retry-after')]).toEqual([429, '10'])
  expect((await site.ask({ path: '/.sallyport/events' })).status).toBe(429)
  for (const answer of waiting.splice(0)) answer()
  expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([200, 200])
  site.answer = (_request, response) => void response.end('ok')
  expect((await site.ask({})).status).toBe(200)
})

test('so many requests of one person in a minute, over all of their sessions', async () => {
  await start({ perMinuteMax: 3 })
  const statuses: number[] = []
  for (let count = 0; count < 7; count++) {
    statuses.push((await site.ask({ token: anyToken() })).status)
  }
  expect(site.gate.sessions).toHaveLength(7)
  expect(statuses).toEqual([200, 200, 200, 429, 429, 429, 429])
  expect(site.reached).toHaveLength(3)
})

test('a head that never ends', async () => {
  await start({}, { proxy: { requestHeadMs: 100 } })
  const told = await slowly(head('GET', '/'), 'X: y\r\n')
  expect(readTold(told).status).toBe(408)
  expect(site.gate.arrivals).toEqual([])
})

test('a connection without a request', async () => {
  await start({}, { proxy: { requestHeadMs: 50, unadmittedMs: 100 } })
  expect(await slowly('', '')).toBe('')
})

test('a body that does not go on', async () => {
  await start({}, { proxy: { requestBodyMs: 100 } })
  const told = await slowly(head('POST', '/', 'Content-Length: 100\r\n\r\nx'), '')
  expect(readTold(told).status).toBe(408)
  expect(site.reached.every(({ complete }) => !complete)).toBe(true)
})

test('Expect: 100-continue is answered by the proxy, once the request may pass', async () => {
  await start({ bodyBytesMax: 10 })
  const expects = 'Expect: 100-continue\r\nConnection: close\r\n'
  const socket = await site.connect()
  let told = ''
  socket.on('data', (chunk: Buffer) => (told += chunk.toString()))
  socket.write(head('POST', '/form', `${expects}Content-Length: 5\r\n\r\n`))
  await eventually(() => told.startsWith('HTTP/1.1 100 Continue\r\n\r\n'))
  socket.write('hello')
  await new Promise((resolve) => socket.once('close', resolve))
  expect(told).toContain('HTTP/1.1 200')
  expect(site.reached).toMatchObject([{ body: 'hello' }])
  expect(site.reached[0]!.headers.expect).toBeUndefined()
  // What is refused is not asked for.
  const refused = await site.raw(head('POST', '/', `${expects}Content-Length: 50\r\n\r\n`))
  expect(refused).toMatch(/^HTTP\/1\.1 413 /)
  expect((await site.ask({ headers: { Expect: 'more' } })).status).toBe(417)
})

test('the level that a program names is the one that is asked for', async () => {
  await start()
  await site.ask({ headers: { 'Sallyport-Level': 'ADMIN' } })
  await site.ask({ headers: { 'Sallyport-Level': '' } })
  expect(site.gate.arrivals.map(({ wanted }) => wanted)).toEqual(['admin', ''])
  // A slip of the pen is not answered under another grant.
  const slip = await site.ask({ headers: { 'Sallyport-Level': 'wirte' } })
  expect(slip.status).toBe(400)
  expect(JSON.parse(slip.text)).toMatchObject({ hint: expect.stringContaining('read, write') })
  expect(site.gate.arrivals).toHaveLength(2)
  expect(site.reached).toHaveLength(2)
  expect(site.reached[0]!.headers['sallyport-level']).toBeUndefined()
})

test('a form that was sent too late is answered with a page that says so', async () => {
  await start()
  const headers = { Accept: 'text/html', 'Content-Type': 'application/x-www-form-urlencoded' }
  const late = await site.ask({ method: 'POST', path: '/pages', token: null, headers, body: 'a=1' })
  expect(late.status).toBe(401)
  expect(late.text).toMatch(/not signed in here, or not any more\. What you sent did not reach/)
  expect(late.text).toMatch(/\.sallyport\/open\?[^"]*">Sign in</)
  expect(late.text).not.toContain('psql')
  expect(site.reached).toHaveLength(0)
})

test('a program’s request goes under the grant that covers it; a browser’s cookie stays with its own', async () => {
  await start()
  site.gate.levelCovering = (need) => (need === 'delete' ? 'admin' : undefined)
  const asked = { method: 'DELETE', path: '/page' }
  expect((await site.ask(asked)).status).toBe(200)
  expect(site.gate.arrivals.map(({ wanted }) => wanted)).toEqual(['', 'admin'])
  expect(site.gate.sessions.map(({ records }) => records.length)).toEqual([0, 1])
  const cookie = { Cookie: '__Host-sallyport=session-at-wiki' }
  expect((await site.ask({ ...asked, token: null, headers: cookie })).status).toBe(403)
  const named = { 'Sallyport-Level': 'write' }
  expect((await site.ask({ ...asked, headers: named })).status).toBe(403)
  expect(site.reached).toHaveLength(1)
  // One that has ended meanwhile: what they have is what they are told of.
  site.gate.refuse = ({ wanted }) =>
    wanted === 'admin' ? new SallyportError('access-denied', 'ended') : undefined
  const told = await site.ask({ ...asked, token: anyToken() })
  expect(told.status).toBe(403)
  expect(JSON.parse(told.text)).toMatchObject({ level: 'delete' })
})

test('a session that ended by itself is asked for anew', async () => {
  await start()
  const socket = await site.connect()
  let told = ''
  socket.on('data', (chunk: Buffer) => (told += chunk.toString()))
  socket.write(head('GET', '/one', '\r\n'))
  await eventually(() => told.includes('"/one"'))
  site.gate.sessions[0]!.isOver = true
  socket.write(head('GET', '/two', 'Connection: close\r\n\r\n'))
  await new Promise((resolve) => socket.once('close', resolve))
  expect(told).toContain('"/two"')
  expect(site.gate.sessions).toHaveLength(2)
})

test('what the end is said to be moves with the grant, and is told to who came later', async () => {
  await start()
  const socket = await site.connect()
  let told = ''
  socket.on('data', (chunk: Buffer) => (told += chunk.toString()))
  const ask = async (): Promise<ReadonlyMap<string, string>> => {
    told = ''
    socket.write(head('GET', '/', '\r\n'))
    await eventually(() => told.includes('HTTP/1.1 200'))
    return readTold(told).headers
  }
  await ask()
  const [session] = site.gate.sessions
  session!.expiresAtMs = Date.UTC(2030, 0, 1)
  session!.warning = 'it ends'
  // No notice reached this connection: it came when the notice was given already.
  expect((await ask()).get('sallyport-expires-at')).toBe('2030-01-01T00:00:00.000Z')
  expect((await ask()).get('sallyport-warning')).toBe('it ends')
  session!.warning = undefined
  expect((await ask()).has('sallyport-expires-at')).toBe(false)
  socket.destroy()
})

test('what is refused is counted by its code, and logged with the resource where one is named', async () => {
  await start({ headerBytesMax: 1_024 })
  await site.ask({ headers: { 'X-Big': 'x'.repeat(1_000) } })
  await site.raw('no request\r\n\r\n')
  expect((await site.ask({ method: 'CONNECT' })).status).toBe(405)
  await site.ask({ token: null })
  // The last is the gate's, which counts its own.
  const codes = ['frame-too-large', 'protocol-violation', 'unsupported-feature']
  expect(site.server.refused).toEqual(codes)
  const refusals = site.server.logged.filter(({ message }) => message === 'request refused')
  expect(refusals.at(-1)?.fields).toMatchObject({ code: 'evidence-missing', resource: 'wiki' })
})
