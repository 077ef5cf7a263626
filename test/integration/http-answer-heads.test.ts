/** Heads of answers, by their fields: what HTTP forbids there ends here, what is too much is 502, and the record says what the client got. */
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { apiToken, domain, readTold, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

let site: HttpSite
let http2: ClientHttp2Session
beforeAll(async () => {
  site = await startHttpSite({ gate: { level: 'write' } })
  http2 = connectHttp2(`https://127.0.0.1:${site.server.port}`, {
    ...{ ca: site.certificates.caPem, servername: `wiki.${domain}` },
    checkServerIdentity: () => undefined,
    // Takes more than the proxy gives.
    ...{ maxHeaderListPairs: 10_000, settings: { maxHeaderListSize: 1024 * 1024 } },
  })
  http2.on('error', () => {})
})
afterAll(async () => {
  http2.destroy()
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  await site.close()
})
afterEach(() => {
  for (const { outcomes } of site.gate.records) expect(outcomes).toHaveLength(1)
})

/** What a client was told; status 0: its stream was reset. */
interface Heard {
  status: number
  fields: ReadonlyMap<string, string>
  count: number
  text: string
}

async function overHttp1(method: string): Promise<Heard> {
  const bytes = await site.raw(
    `${method} / HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\nConnection: close\r\n\r\n`,
    { quietMs: 20_000 },
  )
  const { status, headers, text } = readTold(bytes)
  return { status, fields: headers, text, count: bytes.split('\r\n\r\n')[0]!.split('\r\n').length }
}

function overHttp2(method: string): Promise<Heard> {
  return new Promise((resolve) => {
    const heard: Heard = { status: 0, fields: new Map(), count: 0, text: '' }
    const stream = http2.request({
      ...{ ':method': method, ':authority': `wiki.${domain}`, ':path': '/' },
      authorization: `Bearer ${apiToken}`,
    })
    stream.on('response', (headers, _flags, raw: string[]) => {
      heard.status = Number(headers[':status'])
      heard.count = raw.length / 2
      heard.fields = new Map(
        Object.entries(headers).map(([name, value]) => [name, String(value)] as const),
      )
    })
    stream.on('data', (chunk: Buffer) => (heard.text += chunk.toString()))
    stream.on('error', () => (heard.status = 0))
    stream.on('close', () => resolve(heard))
  })
}

const clients = Object.entries({ 'HTTP/1.1': overHttp1, 'HTTP/2': overHttp2 })

/** The app answers with these bytes, and hangs up. */
function answerWith(bytes: string): void {
  site.answer = ({ socket }) => void socket.end(bytes)
}

async function outcome() {
  await eventually(() => site.gate.records.at(-1)!.outcomes.length === 1)
  return site.gate.records.at(-1)!.outcomes[0]!
}

const fields = (count: number, value = 'y'): string =>
  Array.from({ length: count }, (_, index) => `x-${index}: ${value}\r\n`).join('')

for (const [version, ask] of clients) {
  test.each([
    ['thousands of fields', fields(4_000)],
    ['more fields than are passed on', fields(257)],
    ['fields that are too large together', fields(200, 'y'.repeat(310))],
  ])(`%s are 502 over ${version}, and on record as such`, async (_what, more) => {
    answerWith(`HTTP/1.1 200 OK\r\n${more}\r\nhi`)
    const told = await ask('GET')
    expect(told.status).toBe(502)
    expect(told.fields.get('content-type')).toBe('application/problem+json')
    expect(JSON.parse(told.text)).toMatchObject({ status: 502, code: 'upstream-answer' })
    expect(await outcome()).toMatchObject({
      ...{ status: 'error', tag: '502', errorCode: 'upstream-answer' },
    })
  })

  test.each([
    ['as many fields as are passed on', fields(250)],
    ['one field that is nearly too large', `x-large: ${'y'.repeat(60_000)}\r\n`],
    ['many that are not small', fields(200, 'y'.repeat(250))],
  ])(`%s arrive over ${version}`, async (_what, more) => {
    answerWith(`HTTP/1.1 200 OK\r\n${more}Content-Length: 2\r\n\r\nhi`)
    const told = await ask('GET')
    expect(told).toMatchObject({ status: 200, text: 'hi' })
    expect(told.count).toBeGreaterThanOrEqual(more.split('\r\n').length - 1)
    expect(await outcome()).toMatchObject({ status: 'ok', tag: '200' })
  })

  // RFC 9110, 8.6; RFC 9112, 6.1.
  test.each([
    ['204 with a length', 'GET', '204 No Content\r\nContent-Length: 5', 204, undefined],
    ['204 with chunks', 'GET', '204 No Content\r\nTransfer-Encoding: chunked', 204, undefined],
    ['204 to HEAD', 'HEAD', '204 No Content\r\nContent-Length: 5', 204, undefined],
    ['304 with a length', 'GET', '304 Not Modified\r\nContent-Length: 5', 304, '5'],
    ['304 with chunks', 'GET', '304 Not Modified\r\nTransfer-Encoding: chunked', 304, undefined],
    ['205 with a body', 'GET', '205 Reset Content\r\nContent-Length: 5\r\n\r\nhello', 205, '0'],
    ['205 without', 'GET', '205 Reset Content\r\nContent-Length: 0', 205, '0'],
    ['HEAD with a length', 'HEAD', '200 OK\r\nContent-Length: 5', 200, '5'],
    ['HEAD with a body', 'HEAD', '200 OK\r\nContent-Length: 5\r\n\r\nhello', 200, '5'],
    ['HEAD with chunks', 'HEAD', '200 OK\r\nTransfer-Encoding: chunked', 200, undefined],
  ])(`%s over ${version}`, async (_what, method, answer, status, length) => {
    answerWith(`HTTP/1.1 ${answer}\r\n\r\n`)
    const told = await ask(method)
    expect(told).toMatchObject({ status, text: '' })
    expect(told.fields.get('content-length')).toBe(length)
    expect(told.fields.has('transfer-encoding')).toBe(false)
    expect(await outcome()).toMatchObject({ status: 'ok', tag: String(status) })
  })

  test(`news with too many fields is left out over ${version}, and the answer arrives`, async () => {
    const links = Array.from({ length: 300 }, (_, at) => `Link: </${at}>; rel=preload\r\n`).join('')
    answerWith(
      `HTTP/1.1 103 Early Hints\r\n${links}\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi`,
    )
    expect(await ask('GET')).toMatchObject({ status: 200, text: 'hi' })
  })

  test(`trailers that are too many break the answer off over ${version}`, async () => {
    answerWith(
      `HTTP/1.1 200 OK\r\nTrailer: x-0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n${fields(300)}\r\n`,
    )
    await ask('GET')
    expect(await outcome()).toMatchObject({ status: 'error', errorCode: 'upstream-answer' })
  })
}
