/** What stays open: WebSockets, events, downloads; what comes before and after a body; and two apps that must not meet. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { apiToken, domain, readTold, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

let site: HttpSite
let echo: HttpSite['answer']
let sockets: WebSocketServer
beforeAll(async () => {
  site = await startHttpSite()
  echo = site.answer
  sockets = new WebSocketServer({ server: site.app })
  sockets.on('connection', (socket) => {
    socket.on('message', (data: Buffer) => socket.send(`got ${data.toString()}`))
  })
})
afterAll(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  sockets.close()
  await site.close()
})
beforeEach(() => {
  site.answer = echo
  site.reached.length = 0
})
afterEach(async () => {
  for (const session of site.gate.sessions) if (!session.signal.aborted) session.cut()
  await eventually(() => site.server.serving === 0)
  for (const record of site.gate.records) expect(record.outcomes).toHaveLength(1)
})

const session = () => site.gate.sessions.at(-1)!
const cookie = '__Host-sallyport=session-at-wiki'
const head = (method: string, path: string, more = ''): string =>
  `${method} ${path} HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n${more}\r\n`

/** Sends and keeps on reading. */
async function listen(bytes: string): Promise<{ told: string; isClosed: boolean; end(): void }> {
  const socket = await site.connect()
  const heard = { told: '', isClosed: false, end: () => void socket.destroy() }
  socket.on('data', (chunk: Buffer) => (heard.told += chunk.toString('latin1')))
  socket.on('error', () => {})
  socket.on('close', () => (heard.isClosed = true))
  socket.write(bytes)
  return heard
}

function webSocket(headers: Record<string, string>): WebSocket {
  const socket = new WebSocket(`wss://127.0.0.1:${site.server.port}/live`, {
    ...{ ca: site.certificates.caPem, servername: `wiki.${domain}` },
    headers: { host: `wiki.${domain}:${site.server.port}`, ...headers },
  })
  socket.on('error', () => {})
  return socket
}

/** The status that answered the opening. */
function opened(socket: WebSocket): Promise<number> {
  return new Promise((resolve) => {
    socket.once('open', () => resolve(101))
    socket.once('unexpected-response', (request, { statusCode = 0 }) => {
      request.destroy()
      resolve(statusCode)
    })
  })
}

test('a WebSocket is for pages of its own host, whoever has the cookie', async () => {
  const own = `https://wiki.${domain}:${site.server.port}`
  const origins = [
    'https://evil.example',
    `https://other.${domain}:${site.server.port}`,
    `http://wiki.${domain}:${site.server.port}`,
    `https://wiki.${domain}`,
    `${own}.evil.example`,
    'null',
  ]
  for (const origin of origins) {
    expect([origin, await opened(webSocket({ cookie, origin }))]).toEqual([origin, 403])
  }
  expect(sockets.clients.size).toBe(0)
  const socket = webSocket({ cookie, origin: own })
  expect(await opened(socket)).toBe(101)
  const answered = new Promise((resolve) => {
    socket.once('message', (data: Buffer) => resolve(data.toString()))
  })
  socket.send('hello')
  expect(await answered).toBe('got hello')
  const closed = new Promise((resolve) => socket.once('close', resolve))
  session().cut('grant-expired', 'your grant has ended')
  expect(await closed).toBe(1008)
  expect(await opened(webSocket({ origin: own }))).toBe(401)
})

test('a stream of events and a long download end with the cut, and not as if they were whole', async () => {
  site.answer = ({ url }, response) => {
    const isEvents = url === '/events'
    response.writeHead(200, {
      'content-type': isEvents ? 'text/event-stream' : 'application/octet-stream',
      ...(isEvents ? {} : { 'content-length': String(1024 * 1024 * 1024) }),
    })
    if (isEvents) response.write('data: one\n\n')
    else {
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(64 * 1024, 'x')));
      }
      response.on('drain', more)
      more()
    }
  }
  const events = await listen(head('GET', '/events'))
  const download = await listen(head('GET', '/big'))
  await eventually(() => events.told.includes('data: one') && download.told.length > 1024 * 1024)
  session().cut('grant-revoked')
  await eventually(() => events.isClosed && download.isClosed)
  expect(events.told).not.toContain('\r\n0\r\n')
  expect(download.told.length).toBeLessThan(1024 * 1024 * 1024)
  await eventually(() =>
    site.gate.records.slice(-2).every(({ outcomes }) => outcomes[0]?.status === 'cancelled'),
  )
})

test('the proxy’s own events tell of the session, its warnings, its new end, and its cut', async () => {
  const quick = await startHttpSite({ limits: { keepaliveMs: 30 } })
  try {
    const socket = await quick.connect()
    let told = ''
    socket.on('data', (chunk: Buffer) => (told += chunk.toString()))
    socket.on('error', () => {})
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.write(head('GET', '/.sallyport/events', 'Connection: close\r\n'))
    await eventually(() => told.includes('event: session'))
    expect(readTold(told).headers.get('content-type')).toBe('text/event-stream')
    expect(told).toContain('access-control-allow-origin: https://control.example.com')
    const [own] = quick.gate.sessions
    own!.notify('it ends in a minute')
    await eventually(() => told.includes('event: warning\ndata: {"line":"it ends in a minute"}'))
    own!.expiresAtMs = 1_900_000_000_000
    await eventually(() => told.includes('"expiresAtMs":1900000000000'))
    own!.cut('grant-revoked', 'your grant was revoked', 'talk to your lead')
    await closed
    expect(told).toMatch(
      /event: end\ndata: \{"reason":"grant-revoked","message":"your grant was revoked","hint":"talk to your lead"\}/,
    )
    expect(quick.reached).toEqual([])
    expect(quick.gate.records).toEqual([])
  } finally {
    await quick.close()
  }
})

test('events are for who is signed in', async () => {
  expect((await site.ask({ path: '/.sallyport/events', token: null })).status).toBe(401)
  expect((await site.ask({ path: '/.sallyport/events', method: 'POST' })).status).toBe(404)
})

test('signing out takes the cookie and leads to the console, if it is our own page that asks', async () => {
  const path = '/.sallyport/sign-out'
  const ask = (headers: Record<string, string>, method = 'POST') =>
    site.ask({ path, method, token: null, headers: { Cookie: cookie, ...headers } })
  const page = await ask({}, 'GET')
  expect(page.status).toBe(200)
  expect(page.text).toContain(`<form method="post" action="${path}">`)
  expect(page.cookies).toEqual([])
  const own = `https://wiki.${domain}:${site.server.port}`
  for (const headers of [{ 'Sec-Fetch-Site': 'same-origin', Origin: 'null' }, { Origin: own }]) {
    const out = await ask(headers)
    expect([out.status, out.headers.get('location')]).toEqual([
      303,
      'https://control.example.com/sign-out',
    ])
    expect(out.cookies).toEqual([
      '__Host-sallyport=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0',
    ])
  }
  for (const headers of [
    { 'Sec-Fetch-Site': 'cross-site', Origin: own },
    { 'Sec-Fetch-Site': 'same-site', Origin: own },
    { Origin: 'https://evil.example' },
    {},
  ]) {
    const refused = await ask(headers)
    expect([refused.status, refused.cookies]).toEqual([403, []])
  }
  expect(site.reached).toEqual([])
})

test('early hints pass, and other news of an app’s does not', async () => {
  site.answer = (_request, response) => {
    response.writeProcessing()
    response.writeEarlyHints({ link: '</style.css>; rel=preload', 'x-more': 'no' })
    response.end('ok')
  }
  const told = await site.raw(head('GET', '/', 'Connection: close\r\n'))
  expect(told).toMatch(/^HTTP\/1\.1 103 Early Hints\r\nlink: <\/style\.css>; rel=preload\r\n\r\n/i)
  expect(told).toMatch(/\r\n\r\nHTTP\/1\.1 200 /)
  expect(told).not.toMatch(/ 102 |x-more/)
  // HTTP/1.0 knows none.
  expect(await site.raw(head('GET', '/').replace('HTTP/1.1', 'HTTP/1.0'))).toMatch(
    /^HTTP\/1\.[01] 200 /,
  )
})

// Each parameter doubled the time that Node took to look at a link that does not fit: of these it would have taken years, of all the proxy.
test('early hints made to be hard to read are read at once, and what fits of them passes', async () => {
  const hard = ['a=b', 'a==', 'a=b ', ' a=b=c'].map((one) => `</x>${`;${one}`.repeat(2_000)}"`)
  site.answer = (_request, response) => {
    const { socket } = response
    for (const link of [...hard, '</last>; rel="preload"; as=style']) {
      socket!.write(`HTTP/1.1 103 Early Hints\r\nLink: ${link}\r\n\r\n`)
    }
    response.end('ok')
  }
  const told = await site.raw(head('GET', '/', 'Connection: close\r\n'))
  expect(told).toMatch(
    /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/last>; rel="preload"; as=style\r\n\r\nHTTP\/1\.1 200 /i,
  )
})

test('trailers of an answer pass, but for what says how to read it or who asks', async () => {
  site.answer = (_request, response) => {
    response.writeHead(200, { trailer: 'x-digest' })
    response.write('body')
    response.addTrailers({ 'x-digest': 'abc', 'set-cookie': 'a=b', 'cache-control': 'max-age=9' })
    response.end()
  }
  const told = await site.raw(head('GET', '/', 'TE: trailers\r\nConnection: close\r\n'))
  expect(told).toMatch(/\r\n0\r\nx-digest: abc\r\n\r\n$/i)
  expect(told).not.toMatch(/set-cookie|cache-control/i)
})

test('two apps of one domain share nothing: no cookie, no credential, no connection', async () => {
  const seen: Record<string, string[]> = { wiki: [], other: [] }
  const fields = (raw: readonly string[]): string => raw.join('\n')
  site.answer = ({ headers, rawHeaders }, response) => {
    const name = headers.host!.split('.')[0]!
    seen[name]!.push(fields(rawHeaders))
    response.setHeader('set-cookie', [
      `of-${name}=1; Domain=${domain}; Path=/`,
      `wide-${name}=1; Path=/; DOMAIN = .${domain} ; Secure`,
      `plain-${name}=1`,
    ])
    response.end(name)
  }
  const jar: Record<string, string[]> = {}
  for (const name of ['wiki', 'other']) {
    const own = { Cookie: `__Host-sallyport=session-at-${name}` }
    const told = await site.ask({ app: name, token: null, headers: own })
    expect(told.text).toBe(name)
    expect(told.cookies.join()).not.toMatch(/domain/i)
    jar[name] = told.cookies.map((each) => each.split(';')[0]!)
  }
  // As a browser sends them: what was set without a Domain goes back to its own host alone.
  for (const name of ['wiki', 'other']) {
    const all = [...jar[name]!, `__Host-sallyport=session-at-${name}`].join('; ')
    await site.ask({ app: name, token: null, headers: { Cookie: all } })
  }
  for (const [name, stranger] of [
    ['wiki', 'other'],
    ['other', 'wiki'],
  ] as const) {
    expect(seen[name]).toHaveLength(2)
    expect(seen[name]!.join('\n')).not.toMatch(/session-at|__Host-sallyport/)
    expect(seen[name]!.join('\n')).not.toContain(`-${stranger}=`)
    expect(seen[name]![1]).toContain(`of-${name}=1; wide-${name}=1; plain-${name}=1`)
  }
  const ofCookies = site.gate.sessions.filter(
    ({ arrival }) => arrival.evidence.kind === 'browser-session' && arrival.resource === 'other',
  )
  expect(ofCookies.length).toBeGreaterThan(0)
  // A connection is for the name that its TLS was agreed with.
  const crossed = head('GET', '/').replace(`wiki.${domain}`, `other.${domain}`)
  expect(readTold(await site.raw(crossed)).status).toBe(421)
})
