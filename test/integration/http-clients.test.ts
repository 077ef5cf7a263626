/** Real control, real proxy, real apps, and the clients that people have: each gets through as itself, and everything is on record once. */
import * as grpc from '@grpc/grpc-js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ActivityView } from '../../control/api/shapes.ts'
import { redactQuery } from '../../protocols/http/observe/redact-query.ts'
import { run } from '../demo-site.ts'
import { bearerOf, openChat, openGrpc, openHttp1, openHttp2 } from '../fakes/http-clients.ts'
import {
  grpcMethods,
  startGrpcApp,
  startWebApp,
  type GrpcApp,
  type Said,
  type WebApp,
} from '../fakes/web-app.ts'
import { httpDomain, startHttpStack, type HttpPerson, type HttpStack } from '../http-stack.ts'
import { runSally } from '../run-sally.ts'

let wiki: WebApp
let api: GrpcApp
let stack: HttpStack
/** Reads the wiki. */
let dev: HttpPerson
/** Writes it. */
let lead: HttpPerson
/** Reads it by one grant and writes it by another. */
let both: HttpPerson
let token: string
const ends: (() => unknown)[] = []

beforeAll(async () => {
  ;[wiki, api] = await Promise.all([startWebApp('wiki'), startGrpcApp()])
  stack = await startHttpStack({
    apps: {
      wiki: {
        port: wiki.port,
        http: {
          redactedParameters: ['patient'],
          rules: [
            { path: '/admin/**', needs: 'admin' },
            { path: '/closed/**', needs: 'deny' },
            { methods: ['POST'], path: '/search', needs: 'read' },
          ],
        },
      },
      api: {
        port: api.port,
        secret: 'the-secret-of-the-api',
        http: {
          version: '2',
          credential: { kind: 'bearer' },
          rules: [{ path: '/test.Echo/*', needs: 'read' }],
        },
      },
    },
  })
  ;[dev, lead, both] = await Promise.all([
    stack.person('dev'),
    stack.person('lead'),
    stack.person('both'),
  ])
  await stack.grant(dev, 'wiki')
  await stack.grant(dev, 'api')
  await stack.grant(lead, 'wiki', { level: 'write' })
  token = await dev.token()
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
  await stack?.stop()
  await wiki?.close()
  api?.close()
})

const said = (text: string): Said => JSON.parse(text) as Said

/** What is on record with these words in it, each with its outcome. */
async function recorded(words: string, count: number, person: HttpPerson = dev) {
  const all = await stack.activities(person, (found) => {
    const those = found.filter(({ text }) => text.includes(words))
    return those.length >= count && those.every(({ outcome }) => outcome !== null)
  })
  const those = all.filter(({ text }) => text.includes(words))
  expect(those).toHaveLength(count)
  return those
}

test('curl with a token, over HTTP/1.1 and HTTP/2', async () => {
  const shown = ['-H', `Authorization: Bearer ${token}`, '-w', '\n%{http_version} %{http_code}']
  for (const [flag, version] of [
    ['--http1.1', '1.1'],
    ['--http2', '2'],
  ] as const) {
    const got = await dev.curl('wiki', `/curl/${version}?a=1`, [flag, ...shown], 'nobody')
    const [body = '', last] = got.out.toString().split('\n')
    expect(last, got.err).toBe(`${version} 200`)
    expect(said(body)).toMatchObject({ method: 'GET', url: `/curl/${version}?a=1` })
    expect(said(body).headers['authorization']).toBeUndefined()
    const [one] = await recorded(`/curl/${version}`, 1)
    expect(one).toMatchObject({
      ...{ kind: 'request', text: `GET /curl/${version}?a=1`, resource: 'wiki', level: 'read' },
      outcome: { status: 'ok', tag: '200', bytesDown: Buffer.byteLength(body) },
    })
  }
  expect(wiki.arrived.filter(({ url }) => url.startsWith('/curl/'))).toHaveLength(2)
})

test('curl with a certificate; nobody gets in without anything', async () => {
  const got = await dev.curl('wiki', '/by-certificate')
  expect(said(got.out.toString()).url, got.err).toBe('/by-certificate')
  const without = await dev.curl('wiki', '/by-nobody', ['-i'], 'nobody')
  expect(without.out.toString()).toMatch(/^HTTP\/2 401/)
  // What to do is said in words for programs of HTTP.
  expect(without.out.toString()).toMatch(/says who asks.*sally curl.*sally proxy-token/)
  expect(without.out.toString().toLowerCase()).toContain('www-authenticate: bearer')
  const cropped = ['-i', '-H', 'Authorization: Bearer spa_cropped']
  expect((await dev.curl('wiki', '/by-nobody', cropped, 'nobody')).out.toString()).toMatch(
    /^HTTP\/2 401[^]*what Authorization holds is no token of Sallyport/,
  )
  const wrong = ['-i', '-H', `Authorization: Bearer spa_${'x'.repeat(32)}`]
  expect((await dev.curl('wiki', '/by-nobody', wrong, 'nobody')).out.toString()).toMatch(
    /^HTTP\/2 401/,
  )
  expect(wiki.arrived.some(({ url }) => url === '/by-nobody')).toBe(false)
  await recorded('/by-certificate', 1)
})

test('fetch of Node with a token', async () => {
  // As a program of somebody's would be started; only the name is not in the DNS.
  const program = `
    import dns from 'node:dns'
    dns.lookup = (_name, options, done) =>
      options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)
    const [url, token] = process.argv.slice(1)
    const headers = { authorization: 'Bearer ' + token }
    const got = await fetch(url + '/fetched', { headers })
    const posted = await fetch(url + '/search', { headers, method: 'POST', body: 'q=x' })
    console.log(JSON.stringify([await got.json(), await posted.json()]))`
  const ran = await run(
    process.execPath,
    ['--input-type=module', '-e', program, '--', stack.origin('wiki'), token],
    { NODE_EXTRA_CA_CERTS: stack.caFile },
  )
  expect(ran.code, ran.stderr).toBe(0)
  expect(JSON.parse(ran.stdout)).toMatchObject([
    { method: 'GET', url: '/fetched' },
    { method: 'POST', url: '/search', body: 'q=x' },
  ])
  await recorded('/fetched', 1)
  const [posted] = await recorded('/search', 1)
  expect(posted!.outcome).toMatchObject({ status: 'ok', bytesUp: 3 })
})

test('a client of WebSockets with a token, and with a certificate', async () => {
  const counts = { 'by-token': bearerOf(token), 'by-certificate': { certificate: dev } }
  for (const [way, evidence] of Object.entries(counts)) {
    const chat = await openChat(stack, 'wiki', `/chat/${way}?access_token=secret-word`, evidence)
    expect(await chat.say('hello')).toBe('wiki got hello')
    expect(await chat.say('again')).toBe('wiki got again')
    chat.socket.close(1000, 'bye')
    expect((await chat.closed).code).toBe(1000)
    const [opening, socket] = await recorded(`/chat/${way}`, 2)
    expect(opening).toMatchObject({
      ...{ kind: 'request', text: `GET /chat/${way}?access_token=[redacted]`, redacted: true },
      outcome: { status: 'ok', tag: '101' },
    })
    expect(socket).toMatchObject({
      ...{ kind: 'websocket', text: `WEBSOCKET /chat/${way}?access_token=[redacted]` },
      outcome: { status: 'ok', tag: 'closed 1000, frames: 3 up, 3 down' },
    })
  }
  await expect(openChat(stack, 'wiki', '/chat/by-nobody')).rejects.toThrow('refused with 401')
})

test('a client of gRPC, for single answers, errors and streams each way', async () => {
  const metadata = new grpc.Metadata()
  metadata.set('authorization', `Bearer ${token}`)
  const ways = [
    [openGrpc(stack, 'api'), metadata],
    [openGrpc(stack, 'api', { certificate: dev }), new grpc.Metadata()],
  ] as const
  for (const [client, shown] of ways) {
    ends.push(() => client.close())
    const before = api.arrived.length
    const { once, fails, many, count, both } = grpcMethods
    const text = [once.requestSerialize, once.responseDeserialize] as const
    const asked = (path: string): Promise<string> =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, ...text, 'hello', shown, (error, value) =>
          error === null ? resolve(value ?? '') : reject(error),
        )
      })
    expect(await asked(once.path)).toBe('got hello')
    await expect(asked(fails.path)).rejects.toMatchObject({
      code: grpc.status.NOT_FOUND,
      details: 'there is none',
    })
    const parts: unknown[] = []
    for await (const part of client.makeServerStreamRequest(many.path, ...text, 'part', shown)) {
      parts.push(part)
    }
    expect(parts).toEqual(Array.from({ length: 100 }, (_, index) => `part ${index}`))
    const counted = new Promise((resolve, reject) => {
      const call = client.makeClientStreamRequest(count.path, ...text, shown, (error, value) =>
        error === null ? resolve(value) : reject(error),
      )
      for (let index = 0; index < 50; index++) call.write('x')
      call.end()
    })
    expect(await counted).toBe('50')
    const call = client.makeBidiStreamRequest(both.path, ...text, shown)
    for (const word of ['one', 'two']) {
      const answered = new Promise((resolve) => call.once('data', resolve))
      call.write(word)
      expect(await answered).toBe(`got ${word}`)
    }
    const ended = new Promise((resolve) => call.once('status', resolve))
    call.end()
    call.resume()
    expect(await ended).toMatchObject({ code: grpc.status.OK })
    for (const one of api.arrived.slice(before)) {
      expect(one).toMatchObject({ authorization: 'Bearer the-secret-of-the-api' })
    }
  }
  for (const { path } of Object.values(grpcMethods)) {
    const each = await recorded(`POST ${path}`, 2)
    for (const { outcome } of each) expect(outcome).toMatchObject({ status: 'ok', tag: '200' })
  }
})

test('a hundred streams of one connection at once, each recorded once', async () => {
  const client = await openHttp2(stack, 'wiki', bearerOf(token))
  ends.push(() => client.close())
  // All are open at a time: none is answered before the last has arrived.
  const waiting = Array.from({ length: 100 }, (_, index) => client.start(`/never?at-once=${index}`))
  await expect.poll(() => wiki.open('/never')).toBe(100)
  for (const stream of waiting) stream.close()
  await expect.poll(() => wiki.open('/never')).toBe(0)
  const paths = Array.from({ length: 100 }, (_, index) => `/multiplexed/${index}`)
  const answers = await Promise.all(paths.map((path) => client.ask(path)))
  expect(answers.map(({ text }) => said(text).url)).toEqual(paths)
  const records = await recorded('GET /multiplexed/', 100)
  expect(new Set(records.map(({ text }) => text)).size).toBe(100)
  expect(new Set(records.map(({ sessionId }) => sessionId)).size).toBe(1)
  expect(wiki.arrived.filter(({ url }) => url.startsWith('/multiplexed/'))).toHaveLength(100)
  for (const { outcome } of await recorded('GET /never?at-once=', 100)) {
    expect(outcome!.status).toBe('cancelled')
  }
})

test('values of parameters that look like secrets, or that the resource names, are not recorded', async () => {
  const client = openHttp1(stack, 'wiki', bearerOf(token))
  ends.push(() => client.close())
  const query = 'token=aaa1&patient=aaa2&Client%5FSecret=aaa3&plain=shown&X-Amz-Signature=aaa4'
  const got = await client.ask(`/redacted?${query}`)
  expect(said(got.text).url).toBe(`/redacted?${query}`)
  const [one] = await recorded('/redacted', 1)
  expect(one!.redacted).toBe(true)
  expect(one!.text).toBe(
    'GET /redacted?token=[redacted]&patient=[redacted]&Client%5FSecret=[redacted]&plain=shown&X-Amz-Signature=[redacted]',
  )
  const all = await stack.activities(dev, () => true)
  expect(JSON.stringify(all)).not.toMatch(/aaa[1-4]|secret-word/)
})

test('Sallyport-Authorization is ours, and Authorization beside it the app’s own', async () => {
  const client = openHttp1(stack, 'wiki')
  ends.push(() => client.close())
  const own = 'Basic ZGV2OmFwcA=='
  const headers = { 'sallyport-authorization': `Bearer ${token}`, authorization: own }
  const got = said((await client.ask('/both', { headers })).text)
  expect(got.headers['authorization']).toEqual([own])
  expect(got.headers['sallyport-authorization']).toBeUndefined()
  // The same with a bearer token of the app's own, which is none of our form.
  const bearer = { ...headers, authorization: 'Bearer eyJhbGciOi.app.own' }
  expect(
    said((await client.ask('/both', { headers: bearer })).text).headers['authorization'],
  ).toEqual([bearer.authorization])
  expect(JSON.stringify(wiki.arrived.map((one) => [...one.headers]))).not.toContain(token)
})

test('who has a grant to read and one to write gets through by the one that a request needs', async () => {
  const write = await stack.grant(both, 'wiki', { level: 'write' })
  // The newest counts where a request says nothing else: by it alone, POST would not pass.
  await stack.grant(both, 'wiki')
  const withToken = ['-H', `Authorization: Bearer ${await both.token()}`]
  const curl = async (method: string, shown: readonly string[], as?: 'nobody') => {
    const args = [...shown, '-X', method, '-w', '\n%{http_code}']
    const { out } = await both.curl('wiki', '/by-level', args, as)
    const [text = '', status] = out.toString().split(/\n(?=\d+$)/)
    return { status, text }
  }
  const level = ({ text }: { text: string }): unknown => {
    const [, claims = ''] = said(text).headers['sallyport-assertion']![0]!.split('.')
    return (JSON.parse(Buffer.from(claims, 'base64url').toString()) as { level: string }).level
  }
  const ways = [
    [[], undefined],
    [withToken, 'nobody'],
  ] as const
  for (const [shown, as] of ways) {
    expect(level(await curl('GET', shown, as))).toBe('read')
    expect(level(await curl('POST', shown, as))).toBe('write')
    expect(level(await curl('GET', shown, as))).toBe('read')
    // Who names a level means it.
    const named = [...shown, '-H', 'Sallyport-Level: read']
    expect((await curl('POST', named, as)).status).toBe('403')
  }
  // On a connection that stays, too: it holds both sessions.
  const stays = openHttp1(stack, 'wiki', { certificate: both })
  ends.push(() => stays.close())
  const ask = (method: string) => stays.ask('/by-level', { method })
  for (const method of ['GET', 'POST', 'GET']) expect((await ask(method)).status).toBe(200)
  const open = await stack.sessions(both, (found) => found.length > 0)
  expect(new Set(open.map((session) => session.level))).toEqual(new Set(['read', 'write']))

  await stack.api.call('grantRevoke', { params: { id: write.id }, body: { reason: 'a test' } })
  await expect.poll(async () => (await ask('POST')).status).toBe(403)
  expect((await ask('GET')).status).toBe(200)
  const before = wiki.arrived.length
  for (const [shown, as] of ways) {
    const refused = await curl('POST', shown, as)
    expect(refused.status).toBe('403')
    expect(JSON.parse(refused.text)).toMatchObject({ code: 'access-denied', level: 'write' })
    expect(refused.text).toContain('sally request wiki --level write')
    expect(level(await curl('GET', shown, as))).toBe('read')
  }
  expect(wiki.arrived).toHaveLength(before + ways.length)
})

test('what is above a grant’s level is refused with the level and the way to it', async () => {
  const reader = openHttp1(stack, 'wiki', bearerOf(token))
  const writer = openHttp1(stack, 'wiki', { certificate: lead })
  ends.push(
    () => reader.close(),
    () => writer.close(),
  )
  const before = wiki.arrived.length
  for (const [client, method, path, level] of [
    [reader, 'POST', '/levels', 'write'],
    [reader, 'PUT', '/levels', 'write'],
    [reader, 'DELETE', '/levels', 'delete'],
    [reader, 'GET', '/admin/levels', 'admin'],
    [writer, 'DELETE', '/levels', 'delete'],
    [writer, 'GET', '/admin/levels', 'admin'],
  ] as const) {
    const refused = await client.ask(path, { method })
    expect(refused.status, `${method} ${path}`).toBe(403)
    expect(refused.headers['content-type']).toContain('application/problem+json')
    expect(JSON.parse(refused.text)).toMatchObject({ level })
    expect(refused.text).toContain(`sally request wiki --level ${level}`)
  }
  expect((await writer.ask('/closed/levels')).status).toBe(403)
  const page = await reader.ask('/admin/levels', { headers: { accept: 'text/html' } })
  expect(page.status).toBe(403)
  expect(page.headers['content-type']).toContain('text/html')
  expect(page.text).toContain('/.sallyport/open?level=admin')
  expect(wiki.arrived).toHaveLength(before)
  expect((await writer.ask('/levels', { method: 'POST', body: 'x' })).status).toBe(200)
  for (const { outcome } of await recorded('/levels', 5)) {
    expect(outcome).toMatchObject({ status: 'error', tag: '403', errorCode: 'access-denied' })
  }
  await recorded('/levels', 4, lead)
})

test('sally curl, sally connect and sally proxy-token', async () => {
  const home = { home: dev.home }
  const curled = await runSally(['curl', '-s', `wiki.${httpDomain}/sally/curl`], home)
  expect(curled.code, curled.stderr).toBe(0)
  expect(said(curled.stdout).url).toBe('/sally/curl')
  const connected = await runSally(['connect', 'wiki', '--', '/sally/connect', '-s'], home)
  expect(connected.code, connected.stderr).toBe(0)
  expect(said(connected.stdout).url).toBe('/sally/connect')
  const made = await runSally(['proxy-token', '--for', '10m'], home)
  expect(made.code, made.stderr).toBe(0)
  expect(made.stdout).toMatch(/^spa_[A-Za-z0-9_-]{32}\n$/)
  const shown = ['-H', `Authorization: Bearer ${made.stdout.trim()}`]
  const got = await dev.curl('wiki', '/sally/token', shown, 'nobody')
  expect(said(got.out.toString()).url, got.err).toBe('/sally/token')
  await recorded('GET /sally/', 3)
  // Above the level that is there, each says so and fails.
  const refused = await runSally(
    ['curl', '-s', '--fail', '-X', 'DELETE', `wiki.${httpDomain}/sally/no`],
    home,
  )
  expect(refused.code).toBe(22)
})

test('everything that reached an app is on record once, and the chain verifies', async () => {
  const ofWiki = (found: readonly ActivityView[]) =>
    found.filter(({ resource, kind }) => resource === 'wiki' && kind === 'request')
  const texts = wiki.arrived.map(({ method, url }) => `${method} ${redactQuery(url, ['patient'])}`)
  const isRefused = ({ outcome }: ActivityView): boolean =>
    outcome?.errorCode === 'access-denied' && outcome.tag === '403'
  let records: ActivityView[] = []
  // The search may lag behind.
  await expect
    .poll(async () => {
      const all = await Promise.all(
        [dev, lead, both].map((person) =>
          stack.activities(person, (found) => found.every(({ outcome }) => outcome !== null)),
        ),
      )
      records = ofWiki(all.flat()).filter((record) => !isRefused(record))
      return records.length
    })
    .toBeGreaterThanOrEqual(texts.length)
  for (const text of new Set([...texts, ...records.map((record) => record.text)])) {
    const reached = texts.filter((each) => each === text).length
    const those = records.filter((record) => record.text === text)
    expect(those.length, `records of ${text}`).toBeGreaterThanOrEqual(reached)
    // A cut that comes while a record is on its way to the disk keeps the request from the app: this is as it should be.
    const certain = those.filter(({ outcome }) => outcome?.status !== 'cancelled')
    expect(certain.length, `records of ${text} that tell of no cut`).toBeLessThanOrEqual(reached)
  }
  const home = { home: stack.site.adminHome.files.directory }
  const verified = await runSally(['audit', 'verify'], home)
  expect(verified.code, verified.stdout + verified.stderr).toBe(0)
})
