/** Requests through the engine to a real server: what arrives, what comes back, what is on record. */
import { execFile } from 'node:child_process'
import { connect as connectHttp2, constants } from 'node:http2'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { apiToken, domain, readTold, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

let site: HttpSite
let echo: HttpSite['answer']

beforeAll(async () => {
  site = await startHttpSite({
    gate: { level: 'write' },
    terms: {
      rules: [
        { path: '/admin/**', needs: 'admin' },
        { path: '/never', needs: 'deny' },
      ],
    },
  })
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

test('what says who asks is the proxy’s alone, and what is of one hop ends here', async () => {
  await site.ask({
    headers: {
      ...{ 'X-Forwarded-For': '6.6.6.6', X_Forwarded_For: '6.6.6.6', Forwarded: 'for=6.6.6.6' },
      ...{ 'X-Real-IP': '6.6.6.6', 'Sallyport-Assertion': 'forged', 'X-Original-URL': '/admin/' },
      ...{ 'X-HTTP-Method-Override': 'DELETE', 'Proxy-Connection': 'keep-alive' },
      ...{ Connection: 'close, X-Hop', 'X-Hop': 'mine', 'Keep-Alive': '1', TE: 'trailers' },
      ...{ Cookie: 'a=1; __Host-sallyport=stolen; __Host-sallyport-visit-00000000=x; b=2' },
      ...{ 'X-Passes': 'as it is' },
    },
  })
  const { headers } = site.reached[0]!
  expect(headers).toEqual({
    ...{ host: `wiki.${domain}:${site.server.port}`, cookie: 'a=1; b=2' },
    ...{ connection: 'keep-alive', 'x-passes': 'as it is', 'x-forwarded-for': '127.0.0.1' },
    ...{ 'sallyport-assertion': 'fake.assertion.signed', 'x-forwarded-proto': 'https' },
    'x-forwarded-host': `wiki.${domain}:${site.server.port}`,
    'x-forwarded-port': String(site.server.port),
  })
})

test('an Authorization that is not ours is the app’s, beside evidence in our own header', async () => {
  const told = await site.ask({
    token: null,
    headers: { Authorization: 'Basic YTpi', 'Sallyport-Authorization': `Bearer ${apiToken}` },
  })
  expect(told.status).toBe(200)
  expect(site.reached[0]!.headers.authorization).toBe('Basic YTpi')
  expect(site.reached[0]!.headers['sallyport-authorization']).toBeUndefined()
})

test('an app’s cookies stay at its host, and none takes the place of ours', async () => {
  site.answer = (_request, response) => {
    response.setHeader('set-cookie', [
      `id=1; Domain=.${domain}; Path=/; HttpOnly`,
      '__Host-sallyport=forged; Path=/; Secure',
      '__HOST-SALLYPORT-visit-0=forged',
    ])
    response.setHeader('clear-site-data', '"cookies"')
    response.setHeader('connection', 'close, x-hop')
    response.setHeader('x-hop', 'the app’s own'.replace('’', ''))
    response.end('ok')
  }
  const told = await site.ask({})
  expect(told.cookies).toEqual(['id=1; Path=/; HttpOnly'])
  expect(told.headers.has('clear-site-data')).toBe(false)
  expect(told.headers.has('x-hop')).toBe(false)
  expect(told.text).toBe('ok')
})

test.each([
  ['DELETE', '/pages/1', 'delete'],
  ['GET', '/admin/users', 'admin'],
  ['GET', '/x/../admin/users', 'admin'],
  ['GET', '/%61dmin/users', 'admin'],
  ['GET', '//admin//users', 'admin'],
])('%s %s needs level %s', async (method, path, level) => {
  const told = await site.ask({ method, path })
  expect(told.status).toBe(403)
  expect(JSON.parse(told.text)).toMatchObject({ status: 403, code: 'access-denied', level })
  expect(told.headers.get('content-type')).toBe('application/problem+json')
  const page = await site.ask({ method, path, headers: { Accept: 'text/html' } })
  expect(page.text).toContain(`/.sallyport/open?level=${level}`)
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
  expect(site.reached).toEqual([])
  await eventually(() => lastRecord().outcomes.length === 1)
  expect(lastRecord().outcomes).toMatchObject([{ status: 'error', tag: '403' }])
})

test('without evidence a program is told, and a browser is sent to sign in and comes back', async () => {
  const told = await site.ask({ token: null })
  expect(told.status).toBe(401)
  expect(told.headers.get('www-authenticate')).toMatch(/^Bearer realm=/)
  const away = await site.ask({ token: null, path: '/page?x=1', headers: { Accept: 'text/html' } })
  expect(away.status).toBe(302)
  expect(away.headers.get('location')).toContain('visit=wiki.read')
  const [cookie] = away.cookies
  expect(cookie).toMatch(/Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=28800$/)
  const [name, value] = cookie!.split(';')[0]!.split(/=(.*)/)
  const visit = name!.slice(-8)
  const back = (query: string, Cookie = `${name}=${value}`) =>
    site.ask({ token: null, path: `/.sallyport/finish?${query}`, headers: { Cookie } })
  const code = 'c'.repeat(43)
  const finished = await back(`code=${code}&visit=${visit}`)
  expect(finished.status).toBe(303)
  expect(finished.headers.get('location')).toBe('/page?x=1')
  expect(finished.cookies[0]).toMatch(
    /^__Host-sallyport=session-at-wiki; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=/,
  )
  // Somebody else's browser, another code, another visit, another place to go.
  expect((await back(`code=${code}&visit=${visit}`, 'a=b')).status).toBe(400)
  // A code that was shown in a browser that did not begin is used up, so that whoever did cannot bring it elsewhere.
  const finish = site.gate.browsers.finish.bind(site.gate.browsers)
  const shown: (string | undefined)[][] = []
  site.gate.browsers.finish = (asked) => {
    shown.push([asked.code.reveal(), asked.binding?.reveal()])
    return finish(asked)
  }
  expect((await back(`code=${code}&visit=${visit}`, '')).status).toBe(400)
  site.gate.browsers.finish = finish
  expect(shown).toEqual([[code, undefined]])
  expect((await back(`code=${'d'.repeat(43)}&visit=${visit}`)).status).toBe(401)
  expect((await back(`code=${code}&visit=00000000`)).status).toBe(400)
  const evil = Buffer.from('//evil.example/').toString('base64url')
  const turned = await back(
    `code=${code}&visit=${visit}`,
    `${name}=${value!.split('.')[0]}.${evil}`,
  )
  expect(turned.headers.get('location')).toBe('/')
  expect(site.reached).toEqual([])
})

test('the browser’s session is let in, and never shown to the app', async () => {
  const headers = { Cookie: 'own=1; __Host-sallyport=session-at-wiki' }
  const told = await site.ask({ token: null, headers })
  expect(told.status).toBe(200)
  expect(site.reached[0]!.headers.cookie).toBe('own=1')
  expect(site.gate.arrivals.at(-1)!.evidence.kind).toBe('browser-session')
})

test.each([
  ['/.sallyport/finish', 400, 'text/html', 'sandbox'],
  [`/.sallyport/finish?code=${'c'.repeat(43)}&visit=01234567`, 400, 'text/html', 'sandbox'],
  [`/.sallyport/finish?code=${'c'.repeat(43)}&visit=01234567`, 400, '*/*', 'sandbox'],
  ['/.sallyport/x', 404, 'text/html', 'sandbox'],
  ['/.sallyport/x', 404, '*/*', 'sandbox'],
  ['/.sallyport/sign-out', 200, 'text/html', 'opener'],
  ['/admin/', 403, 'text/html', 'opener'],
  ['/.sallyport/open', 302, 'text/html', 'neither'],
])('what is ours keeps to itself: %s, %i for %s', async (path, status, Accept, kind) => {
  const { status: told, headers } = await site.ask({ path, headers: { Accept } })
  expect(told).toBe(status)
  expect(headers.get('cache-control')).toBe('no-store')
  expect(headers.get('x-content-type-options')).toBe('nosniff')
  expect(headers.get('referrer-policy')).toBe('no-referrer')
  const policy = headers.get('content-security-policy') ?? ''
  expect(/(?:^|; )sandbox$/.test(policy)).toBe(kind === 'sandbox')
  const isPage = Accept === 'text/html' && kind !== 'neither'
  expect(policy.startsWith("default-src 'none'; style-src 'sha256-")).toBe(isPage)
  expect(headers.get('cross-origin-opener-policy')).toBe(
    kind === 'opener' ? 'same-origin' : undefined,
  )
})

test('an unknown page of ours is not the app’s', async () => {
  for (const path of ['/.sallyport/x', '/.sallyport', '//.sallyport/finish', '/%2esallyport/x']) {
    expect((await site.ask({ path })).status).toBe(404)
  }
  expect(site.reached).toEqual([])
})

test('events leave at once, and a cut ends the stream in the middle', async () => {
  site.answer = (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: one\n\n')
  }
  const socket = await site.connect()
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const closed = new Promise((resolve) => socket.on('close', resolve))
  socket.on('error', () => {})
  socket.write(
    `GET /events HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n\r\n`,
  )
  await eventually(() => text.includes('data: one'))
  site.gate.sessions.at(-1)!.cut('grant-revoked')
  await closed
  expect(text).not.toContain('\r\n0\r\n')
  await eventually(() => lastRecord().outcomes.length === 1)
  expect(lastRecord().outcomes[0]!.status).toBe('cancelled')
})

test('a cut while the record is on its way to the disk: the client is told 403, and so is the record; the app gets nothing', async () => {
  site.gate.commitsHeld = true
  const before = site.gate.records.length
  const told = site.ask({ method: 'POST', path: '/held', body: 'x' })
  await eventually(() => site.gate.records.length > before)
  site.gate.sessions.at(-1)!.cut('grant-revoked')
  expect((await told).status).toBe(403)
  site.gate.commitsHeld = false
  expect(lastRecord()).toMatchObject({
    ...{ text: 'POST /held', outcomes: [{ status: 'cancelled', tag: '403' }] },
  })
  expect(site.reached).toEqual([])
})

test('a cut before the answer is told with its reason; the next request of a connection too', async () => {
  site.answer = () => {}
  const asking = site.ask({ path: '/slow' })
  await eventually(() => site.reached.length === 1)
  site.gate.sessions.at(-1)!.cut('grant-revoked', 'your grant was revoked', 'talk to your lead')
  const told = await asking
  expect(told.status).toBe(403)
  expect(JSON.parse(told.text)).toMatchObject({
    ...{ detail: 'your grant was revoked', hint: 'talk to your lead', reason: 'grant-revoked' },
  })
})

test('a warning is on each answer after it', async () => {
  const socket = await site.connect()
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const ask = (): boolean =>
    socket.write(
      `GET / HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n\r\n`,
    )
  ask()
  await eventually(() => text.includes('HTTP/1.1 200'))
  expect(readTold(text).headers.has('sallyport-warning')).toBe(false)
  site.gate.sessions.at(-1)!.notify('your grant ends in a minute')
  text = ''
  ask()
  await eventually(() => text.includes('HTTP/1.1 200'))
  expect(readTold(text).headers.get('sallyport-warning')).toBe('your grant ends in a minute')
  socket.destroy()
})

test('a hundred streams of HTTP/2 on one connection, one lease', async () => {
  const before = site.gate.arrivals.length
  const client = connectHttp2(`https://wiki.${domain}:${site.server.port}`, {
    ca: site.certificates.caPem,
    lookup: (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }] as never),
  })
  const ask = (index: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const stream = client.request({
        ...{ ':path': `/stream/${index}`, ':method': 'POST' },
        authorization: `Bearer ${apiToken}`,
      })
      let text = ''
      stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
      stream.on('end', () => resolve(text))
      stream.on('error', reject)
      stream.end(`body ${index}`)
    })
  const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => ask(index)))
  answers.forEach((answer, index) =>
    expect(JSON.parse(answer)).toMatchObject({ url: `/stream/${index}`, body: `body ${index}` }),
  )
  expect(site.gate.arrivals.length).toBe(before + 1)
  // A cut resets the streams that are open.
  site.answer = (_request, response) => void response.write('half')
  const stream = client.request({ ':path': '/long', authorization: `Bearer ${apiToken}` })
  stream.on('error', () => {})
  await new Promise((resolve) => stream.once('data', resolve))
  site.gate.sessions.at(-1)!.cut()
  await new Promise((resolve) => stream.once('close', resolve))
  expect(stream.rstCode).toBe(constants.NGHTTP2_INTERNAL_ERROR)
  expect(stream.readableEnded).toBe(false)
  client.destroy()
})

test('curl, with HTTP/1.1 and HTTP/2, sends 8 MB and gets it back', async () => {
  site.answer = (request, response) => {
    response.writeHead(200)
    request.pipe(response)
  }
  for (const version of ['--http1.1', '--http2']) {
    const bytes = await new Promise<number>((resolve, reject) => {
      const child = execFile(
        'curl',
        [
          ...['-sS', version, '--cacert', site.certificates.caFile, '--data-binary', '@-'],
          ...['-H', `Authorization: Bearer ${apiToken}`],
          ...['--resolve', `wiki.${domain}:${site.server.port}:127.0.0.1`],
          `https://wiki.${domain}:${site.server.port}/echo`,
        ],
        { encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 },
        (error, out) => (error === null ? resolve(out.length) : reject(error)),
      )
      child.stdin!.end(Buffer.alloc(8 * 1024 * 1024, 'x'))
    })
    expect(bytes).toBe(8 * 1024 * 1024)
  }
})

test('in the clear a browser is sent to https, and a program is told', async () => {
  const { connect } = await import('node:net')
  const say = (text: string): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect(site.server.port, '127.0.0.1')
      let answer = ''
      socket.on('data', (chunk) => (answer += chunk.toString()))
      socket.on('close', () => resolve(answer))
      socket.write(text)
    })
  const start = `GET /a?b HTTP/1.1\r\nHost: wiki.${domain}:99\r\n`
  expect(await say(`${start}\r\n`)).toMatch(/^HTTP\/1.1 400 .*https:\/\//s)
  expect(await say(`${start}Accept: text/html\r\n\r\n`)).toContain(
    `Location: https://wiki.${domain}:99/a?b\r\n`,
  )
  expect(
    await say('GET /a HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html\r\n\r\n'),
  ).not.toContain('Location')
})

test('bodies are recorded up to what the resource says, before they pass', async () => {
  const recorded = { requestBodyBytes: 4, responseBodyBytes: 3, webSocketText: false }
  const other = await startHttpSite({ gate: { level: 'write' }, terms: { recorded } })
  other.answer = (_request, response) => void response.end('answer')
  expect((await other.ask({ method: 'POST', body: 'request' })).text).toBe('answer')
  const [recording] = other.gate.sessions[0]!.recordings
  const said = recording!.parts.map((part) => ('bytes' in part ? part.bytes.toString() : ''))
  expect(said.filter((part) => part !== '')).toEqual(expect.arrayContaining(['requ', 'ans']))
  expect(recording!.ended).toBe(true)
  await other.close()
})
