/**
 * Malformed, ambiguous and smuggling requests on a raw socket. Each is answered or closed as RFC 9112 says; what reaches the app is exactly
 * what is on record, once.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

let site: HttpSite

beforeAll(async () => {
  site = await startHttpSite({
    gate: { level: 'admin' },
    limits: { requestHeadMs: 400, requestBodyMs: 400, handshakeMs: 5_000 },
  })
})
afterAll(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  await site.close()
})

const host = `Host: wiki.${domain}`
const auth = `Authorization: Bearer ${apiToken}`
/** Fields that a proper request has. */
const good = `${host}\r\n${auth}\r\n`
const close = 'Connection: close\r\n'
/** What nobody may get through: it would be answered, as it carries evidence. */
const smuggled = `GET /@/smuggled HTTP/1.1\r\n${good}${close}\r\n`
/** Every case's path is its own. */
const at = '/@'

interface Case {
  /** `/@` is the case's own path. */
  readonly send: string
  /** Statuses of the answers, in order; 0: closed without a word. */
  readonly told: readonly number[]
  /** What reaches the app: method, path, body. Nothing, unless said. */
  readonly reaches?: readonly string[]
}

const chunked = 'Transfer-Encoding: chunked\r\n'
const post = `POST ${at} HTTP/1.1\r\n${good}`
const get = `GET ${at} HTTP/1.1\r\n`

const cases: Readonly<Record<string, Case>> = {
  // Framing (RFC 9112, chapter 6)
  'CL.TE': {
    send: `${post}Content-Length: 6\r\n${chunked}\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'TE.CL': {
    send: `${post}${chunked}Content-Length: 4\r\n\r\n5c\r\n${smuggled}\r\n0\r\n\r\n`,
    told: [400],
  },
  'two lengths that differ': {
    send: `${post}Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello${smuggled}`,
    told: [400],
  },
  'two lengths that agree': {
    send: `${post}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
    told: [400],
  },
  'a list of lengths': { send: `${post}Content-Length: 5, 5\r\n\r\nhello`, told: [400] },
  'a length with a sign': { send: `${post}Content-Length: +5\r\n\r\nhello`, told: [400] },
  'a negative length': { send: `${post}Content-Length: -1\r\n\r\n${smuggled}`, told: [400] },
  'a length in hex': { send: `${post}Content-Length: 0x5\r\n\r\nhello`, told: [400] },
  'a length with a space in it': { send: `${post}Content-Length: 1 0\r\n\r\nhello`, told: [400] },
  'a length of many digits': {
    send: `${post}Content-Length: 99999999999999999999\r\n\r\nhello`,
    told: [400],
  },
  'a length that wraps around': {
    send: `${post}Content-Length: 18446744073709551621\r\n\r\nhello${smuggled}`,
    told: [400],
  },
  'an empty length': { send: `${post}Content-Length: \r\n\r\n${smuggled}`, told: [400] },
  'a length with leading zeros': { send: `${post}Content-Length: 005\r\n\r\nhello`, told: [400] },
  'a length and a tab': {
    send: `${post}${close}Content-Length:\t5\r\n\r\nhello`,
    told: [200],
    reaches: ['POST /@ hello'],
  },
  'chunked twice': {
    send: `${post}${chunked}${chunked}\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'chunked, and another coding after it': {
    send: `${post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a coding before chunked': {
    send: `${post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    told: [501],
  },
  'a coding that is none': {
    send: `${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`,
    told: [501],
  },
  identity: { send: `${post}Transfer-Encoding: identity\r\n\r\n${smuggled}`, told: [501] },
  'a coding behind a vertical tab': {
    send: `${post}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a coding in quotes': {
    send: `${post}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n${smuggled}`,
    told: [501],
  },
  'a coding in another case': {
    send: `${post}${close}Transfer-Encoding: ChUnKeD\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
    told: [200],
    reaches: ['POST /@ hello'],
  },
  'a coding with a space before the colon': {
    send: `${post}Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\nhello${smuggled}`,
    told: [400],
  },
  'a coding in HTTP/1.0': {
    send: `POST ${at} HTTP/1.0\r\n${good}${chunked}\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a length hidden behind a bare LF': {
    send: `${post}X: y\nContent-Length: 5\r\n\r\nhello`,
    told: [400],
  },
  'a coding hidden behind a bare CR': {
    send: `${post}X: y\rTransfer-Encoding: chunked\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a body with GET': {
    send: `${get}${good}${close}Content-Length: 5\r\n\r\nhello`,
    told: [200],
    reaches: ['GET /@ hello'],
  },
  // Chunks (RFC 9112, 7.1)
  'a chunk size that is none': {
    send: `${post}${chunked}\r\nxyz\r\nhello\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a negative chunk': { send: `${post}${chunked}\r\n-1\r\nhello\r\n0\r\n\r\n`, told: [400] },
  'a chunk size in 0x': { send: `${post}${chunked}\r\n0x5\r\nhello\r\n0\r\n\r\n`, told: [400] },
  'a chunk size that wraps around': {
    send: `${post}${chunked}\r\n10000000000000005\r\nhello\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a chunk longer than its size': {
    send: `${post}${chunked}\r\n3\r\nhello\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a chunk size that ends in a bare LF': {
    send: `${post}${chunked}\r\n5\nhello\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a chunk that ends in a bare LF': {
    send: `${post}${chunked}\r\n5\r\nhello\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'an extension with a bare LF in it': {
    send: `${post}${chunked}\r\n5;a\nb\r\nhello\r\n0\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a space before a chunk size': {
    send: `${post}${chunked}\r\n 5\r\nhello\r\n0\r\n\r\n`,
    told: [400],
  },
  'chunk extensions, which are dropped': {
    send: `${post}${close}${chunked}\r\n5;name=value\r\nhello\r\n0\r\n\r\n`,
    told: [200],
    reaches: ['POST /@ hello'],
  },
  'extensions without an end': {
    send: `${post}${chunked}\r\n5;${'a'.repeat(40_000)}\r\nhello\r\n0\r\n\r\n`,
    told: [413],
  },
  'a trailer that would be a header': {
    send: `${post}${close}${chunked}\r\n5\r\nhello\r\n0\r\nSallyport-Assertion: forged\r\nContent-Length: 3\r\n\r\n`,
    told: [400],
  },
  'a harmless trailer, which is dropped': {
    send: `${post}${close}${chunked}\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n`,
    told: [200],
    reaches: ['POST /@ hello'],
  },
  'a body that never comes': { send: `${post}Content-Length: 5\r\n\r\nhe`, told: [408] },
  // Fields (RFC 9112, chapter 5)
  'a folded line': { send: `${get}${good}X-Long: a\r\n b\r\n\r\n${smuggled}`, told: [400] },
  'a folded line with a tab': { send: `${get}${good}X-Long: a\r\n\tb\r\n\r\n`, told: [400] },
  'a folded first line': { send: `${get} ${good}\r\n`, told: [400] },
  'a space before a colon': { send: `${get}${good}X-Name : value\r\n\r\n`, told: [400] },
  'a tab before a colon': { send: `${get}${good}X-Name\t: value\r\n\r\n`, told: [400] },
  'a name with a space': { send: `${get}${good}X Name: value\r\n\r\n`, told: [400] },
  'a name that is empty': { send: `${get}${good}: value\r\n\r\n`, told: [400] },
  'a line without a colon': { send: `${get}${good}nonsense\r\n\r\n`, told: [400] },
  'a zero byte in a name': { send: `${get}${good}X\0Name: value\r\n\r\n`, told: [400] },
  'a zero byte in a value': { send: `${get}${good}X-Name: va\0lue\r\n\r\n`, told: [400] },
  'a control character in a value': { send: `${get}${good}X-Name: a\x01b\r\n\r\n`, told: [400] },
  'a bare CR in a value': { send: `${get}${good}X-Name: a\rb\r\n\r\n`, told: [400] },
  'a letter beyond ASCII in a name': { send: `${get}${good}X-N\xe4me: v\r\n\r\n`, told: [400] },
  'bare LF throughout': { send: `GET ${at} HTTP/1.1\n${host}\n${auth}\n\n`, told: [400] },
  'a head that ends in LF alone': { send: `${get}${good}\n`, told: [400] },
  'a header too large': {
    send: `${get}${good}${close}X: ${'a'.repeat(40_000)}\r\n\r\n`,
    told: [431],
  },
  'a header larger than any': {
    send: `${get}${good}X: ${'a'.repeat(400_000)}\r\n\r\n`,
    told: [431],
  },
  'a target longer than any': {
    send: `GET ${at}?${'a'.repeat(70_000)} HTTP/1.1\r\n${good}\r\n`,
    told: [414],
  },
  'too many fields': {
    send: `${get}${good}${Array.from({ length: 300 }, (_, n) => `x-${n}: y\r\n`).join('')}\r\n`,
    told: [431],
  },
  'too many fields, framing last': {
    send: `POST ${at} HTTP/1.1\r\n${good}${'x: y\r\n'.repeat(2_500)}${chunked}\r\n0\r\n\r\n${smuggled}`,
    told: [431],
  },
  'a head that never ends': { send: `${get}${host}\r\nX-Slow: `, told: [408] },
  // The first line (RFC 9112, chapter 3)
  'no host': { send: `${get}${auth}\r\n\r\n`, told: [400] },
  'no host in HTTP/1.0': { send: `GET ${at} HTTP/1.0\r\n${auth}\r\n\r\n`, told: [400] },
  'two hosts': { send: `${get}${good}Host: echo.${domain}\r\n\r\n`, told: [400] },
  'two hosts that agree': { send: `${get}${good}${host}\r\n\r\n`, told: [400] },
  'an empty host': { send: `${get}Host: \r\n${auth}\r\n\r\n`, told: [400] },
  'a host with a path': { send: `${get}Host: wiki.${domain}/x\r\n${auth}\r\n\r\n`, told: [400] },
  'a host with a user': { send: `${get}Host: me@wiki.${domain}\r\n${auth}\r\n\r\n`, told: [400] },
  'a host with two ports': { send: `${get}${host}:1:2\r\n${auth}\r\n\r\n`, told: [400] },
  'a host with a final dot': { send: `${get}${host}.\r\n${auth}\r\n\r\n`, told: [400] },
  'a list of hosts': { send: `${get}${host}, evil.example\r\n${auth}\r\n\r\n`, told: [400] },
  'the host of another app': {
    send: `${get}Host: echo.${domain}\r\n${auth}\r\n\r\n`,
    told: [421],
  },
  'a host outside of the domain': {
    send: `${get}Host: evil.example\r\n${auth}\r\n\r\n`,
    told: [421],
  },
  'the domain itself': { send: `${get}Host: ${domain}\r\n${auth}\r\n\r\n`, told: [421] },
  'absolute form': {
    send: `GET https://wiki.${domain}${at} HTTP/1.1\r\n${good}\r\n${smuggled}`,
    told: [400],
  },
  'absolute form of another host': {
    send: `GET http://evil.example${at} HTTP/1.1\r\n${good}\r\n`,
    told: [400],
  },
  CONNECT: {
    send: `CONNECT evil.example:443 HTTP/1.1\r\n${good}\r\n${smuggled}`,
    told: [405],
  },
  'CONNECT with a path': { send: `CONNECT ${at} HTTP/1.1\r\n${good}\r\n`, told: [405] },
  'asterisk form': { send: `OPTIONS * HTTP/1.1\r\n${good}\r\n${smuggled}`, told: [400] },
  TRACE: { send: `TRACE ${at} HTTP/1.1\r\n${good}${close}\r\n`, told: [405] },
  'a fragment': { send: `GET ${at}#part HTTP/1.1\r\n${good}\r\n`, told: [400] },
  'a backslash': { send: `GET ${at}\\..\\admin HTTP/1.1\r\n${good}\r\n`, told: [400] },
  'a zero byte, encoded': { send: `GET ${at}%00 HTTP/1.1\r\n${good}\r\n`, told: [400] },
  'an escape that is none': { send: `GET ${at}%zz HTTP/1.1\r\n${good}\r\n`, told: [400] },
  'a byte beyond ASCII': { send: `GET ${at}\xff HTTP/1.1\r\n${good}\r\n`, told: [400] },
  'a space in the target': { send: `GET ${at} x HTTP/1.1\r\n${good}\r\n`, told: [400] },
  'a tab for a space': { send: `GET\t${at}\tHTTP/1.1\r\n${good}\r\n`, told: [400] },
  'a control character in the target': {
    send: `GET ${at}\x01 HTTP/1.1\r\n${good}\r\n`,
    told: [400],
  },
  'a method that nobody knows': { send: `GOT ${at} HTTP/1.1\r\n${good}\r\n`, told: [400] },
  'a method in lower case': { send: `get ${at} HTTP/1.1\r\n${good}\r\n`, told: [400] },
  'HTTP/0.9': { send: `GET ${at}\r\n\r\n`, told: [505] },
  'HTTP/1.2': { send: `GET ${at} HTTP/1.2\r\n${good}\r\n`, told: [400] },
  'HTTP/2 by its name': { send: `GET ${at} HTTP/2.0\r\n${good}\r\n`, told: [505] },
  'HTTP/11': { send: `GET ${at} HTTP/11\r\n${good}\r\n`, told: [400] },
  // Node's parser takes it for HTTP/1.0; what the app gets says HTTP/1.1.
  'another protocol': {
    send: `GET ${at} RTSP/1.0\r\n${good}\r\n`,
    told: [200],
    reaches: ['GET /@ '],
  },
  'the preface of HTTP/2': { send: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', told: [400] },
  'a greeting of SSH': { send: 'SSH-2.0-OpenSSH_9.2\r\n', told: [400] },
  noise: { send: '\xff\xfe\0\x01'.repeat(16), told: [400] },
  'an expectation that is none': {
    send: `${post}Expect: 200-maybe\r\n${close}Content-Length: 0\r\n\r\n`,
    told: [417],
  },
  // In a row, and upgrades
  'two proper requests in a row': {
    send: `${get}${good}\r\nGET ${at}/2 HTTP/1.1\r\n${good}${close}\r\n`,
    told: [200, 200],
    reaches: ['GET /@ ', 'GET /@/2 '],
  },
  'a proper request, then a broken one': {
    send: `${get}${good}\r\nGET ${at}/2 HTTP/1.1\r\n${good}X : y\r\n\r\n`,
    told: [200, 400],
    reaches: ['GET /@ '],
  },
  'a proper body, then a proper request': {
    send: `${post}Content-Length: 5\r\n\r\nhelloGET ${at}/2 HTTP/1.1\r\n${good}${close}\r\n`,
    told: [200, 200],
    reaches: ['POST /@ hello', 'GET /@/2 '],
  },
  'an upgrade to h2c': {
    send: `${get}${good}Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`,
    told: [200],
    reaches: ['GET /@ '],
  },
  'a WebSocket without a key': {
    send: `${get}${good}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n${smuggled}`,
    told: [400],
  },
  'a WebSocket of another version': {
    send: `${get}${good}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n${smuggled}`,
    told: [426],
  },
  'a WebSocket of another site': {
    send: `${get}${good}Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://evil.example\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n${smuggled}`,
    told: [403],
  },
  'an upgrade that is refused, and what follows it': {
    send: `POST ${at} HTTP/1.1\r\n${good}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello${smuggled.replace('/smuggled', '/2')}`,
    told: [200],
    reaches: ['POST /@ hello'],
  },
}

describe('on a raw socket', () => {
  const answers = new Map<string, string>()
  beforeAll(async () => {
    expect(Object.keys(cases).length).toBeGreaterThanOrEqual(60)
    await Promise.all(
      Object.entries(cases).map(async ([name, { send }], index) => {
        const bytes = Buffer.from(send.replaceAll(at, `/case-${index}`), 'latin1')
        answers.set(name, await site.raw(bytes, { quietMs: 15_000 }))
      }),
    )
    await eventually(() => site.server.serving === 0)
  })

  test.each(Object.entries(cases))('%s', (name, { told, reaches = [] }) => {
    const index = Object.keys(cases).indexOf(name)
    const own = `/case-${index}`
    const isOwn = (text: string): boolean => new RegExp(`${own}(?![0-9])`).test(text)
    const statuses = [...answers.get(name)!.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((found) =>
      Number(found[1]),
    )
    if (told.length > 0) expect(statuses).toEqual(told)
    const wanted = reaches.map((each) => each.replace(at, own))
    const came = site.reached.filter(({ url }) => isOwn(url))
    expect(
      came
        .filter(({ complete }) => complete)
        .map(({ method, url, body }) => `${method} ${url} ${body}`),
    ).toEqual(wanted)
    // Whatever came, whole or not, is on record once, in the same words.
    const records = site.gate.records.filter(({ text }) => isOwn(text))
    for (const { method, url } of came) {
      expect(records.filter(({ text }) => text === `${method} ${url}`)).toHaveLength(1)
    }
    for (const { outcomes } of records) expect(outcomes).toHaveLength(1)
  })

  test('nothing was smuggled, and nobody got in by a header of their own', () => {
    expect(site.reached.filter(({ url }) => url.includes('/smuggled'))).toEqual([])
    expect(site.gate.texts.filter((text) => text.includes('smuggled'))).toEqual([])
    for (const { headers } of site.reached) {
      expect(headers['sallyport-assertion']).toBe('fake.assertion.signed')
      expect(headers.authorization).toBeUndefined()
    }
  })
})
