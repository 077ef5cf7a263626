/** Client credentials traded at a real server of HTTPS: what is sent there, what is believed, and for how long it is kept. */
import { createServer, type Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { issueServerCertificate } from '../../certs/issue-server.ts'
import { createKeyAndRequest } from '../../certs/request.ts'
import type { SallyportError } from '../../protocols/kit/errors.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { Secret } from '../../protocols/kit/secret.ts'
import { createAccessTokens, type AccessTokensOptions } from '../../proxy/secrets/access-tokens.ts'
import { createTestClock } from '../test-clock.ts'
import { newAuthority } from '../unit/certs/world.ts'

const secretText = 'p+ss:wörd&'
let server: Server
let caPem: string
let port = 0
let asked: { headers: IncomingMessage['headers']; url: string; method: string; body: string }[] = []
let answer: (response: ServerResponse) => void
const secrets: Secret<string>[] = []

const json =
  (body: object, status = 200) =>
  (response: ServerResponse) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
const token = (name: string, more: object = { expires_in: 3_600 }) =>
  json({ access_token: name, token_type: 'Bearer', ...more })

beforeAll(async () => {
  const authority = await newAuthority('control', systemClock)
  const { privateKeyPem, requestPem } = await createKeyAndRequest()
  const { certificatePem } = await issueServerCertificate(authority, {
    ...{ requestPem, dnsNames: ['localhost'], validForMs: 3_600_000, clock: systemClock },
  })
  caPem = authority.certificatePem
  server = createServer(
    { key: privateKeyPem, cert: certificatePem + caPem },
    (request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const { headers, url = '', method = '' } = request
        asked.push({ headers, url, method, body: Buffer.concat(chunks).toString() })
        answer(response)
      })
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as AddressInfo).port
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})
afterEach(() => {
  asked = []
  secrets.length = 0
})

function open(changes: Partial<AccessTokensOptions> = {}) {
  const clock = createTestClock()
  const abort = new AbortController()
  const tokens = createAccessTokens({
    credentials: { tokenUrl: `https://localhost:${port}/token`, scope: 'a b', caPem },
    clientId: 'wiki client',
    fetchSecret() {
      const secret = new Secret(secretText)
      secrets.push(secret)
      return Promise.resolve(secret)
    },
    ...{ signal: abort.signal, clock, ...changes },
  })
  return { tokens, clock, abort }
}
const refusal = (given: Promise<unknown>): Promise<SallyportError> =>
  given.then(
    () => {
      throw new Error('was given')
    },
    (error: unknown) => error as SallyportError,
  )

describe('an access token', () => {
  it('is asked for as RFC 6749 has it, once for all who want it at the time', async () => {
    answer = token('one')
    const { tokens } = open()
    const given = await Promise.all([tokens.get(), tokens.get(), tokens.get()])
    expect(given.map((each) => each.reveal())).toEqual(['one', 'one', 'one'])
    expect(asked).toHaveLength(1)
    const [{ headers, url, method, body }] = asked as [(typeof asked)[number]]
    expect([method, url, body]).toEqual([
      ...['POST', '/token', 'grant_type=client_credentials&scope=a+b'],
    ])
    const pair = Buffer.from(headers.authorization!.replace('Basic ', ''), 'base64').toString()
    expect(pair.split(':').map((part) => decodeURIComponent(part.replace(/\+/g, ' ')))).toEqual([
      ...['wiki client', secretText],
    ])
    // Whoever drops theirs takes nothing from the others; the client's secret is dropped at once.
    given[0].drop()
    expect((await tokens.get()).reveal()).toBe('one')
    expect(() => secrets[0]!.reveal()).toThrow()
  })

  it('is kept for its life less half a minute, and not past the session', async () => {
    const { tokens, clock } = open()
    answer = token('one', { expires_in: 100 })
    await tokens.get()
    answer = token('two', { expires_in: '20' })
    clock.advance(69_999)
    expect((await tokens.get()).reveal()).toBe('one')
    clock.advance(1)
    expect((await tokens.get()).reveal()).toBe('two')
    answer = token('three', {})
    expect((await tokens.get()).reveal()).toBe('three')
    answer = token('four')
    clock.advance(29_999)
    expect((await tokens.get()).reveal()).toBe('three')
    clock.advance(1)
    expect((await tokens.get()).reveal()).toBe('four')
    tokens.drop()
    answer = token('five')
    expect((await tokens.get()).reveal()).toBe('five')
  })

  it.each([
    ['an error', json({ error: 'invalid_client', error_description: 'tok-en' }, 401)],
    ['no token', json({ token_type: 'Bearer' })],
    ['a token of another type', json({ access_token: 'tok-en', token_type: 'mac' })],
    ['what would end a header', json({ access_token: 'tok-en\r\nx: y', token_type: 'Bearer' })],
    ['no JSON', (response: ServerResponse) => response.end('tok-en')],
    ['too much', (response: ServerResponse) => response.end(`"${'tok-en'.repeat(20_000)}"`)],
    ['a redirect', (response: ServerResponse) => response.writeHead(307, { location: '/x' }).end()],
    ['nothing', (response: ServerResponse) => void response.destroy()],
  ])('is none where the server answers %s; and nothing of it is said', async (_, given) => {
    answer = given
    const { code, message, clientMessage, hint } = await refusal(open().tokens.get())
    expect(code).toBe('secret-unavailable')
    expect([message, clientMessage, hint].join()).not.toMatch(/tok-en|ss:w/)
    expect(asked).toHaveLength(1)
    expect(() => secrets[0]!.reveal()).toThrow()
  })

  it('is asked for of nobody but the server that the certificate names', async () => {
    answer = token('one')
    const tokenUrl = `https://localhost:${port}/token`
    const credentials = { tokenUrl: `https://127.0.0.1:${port}/token`, caPem }
    expect((await refusal(open({ credentials }).tokens.get())).code).toBe('secret-unavailable')
    const unknown = open({ credentials: { tokenUrl } })
    expect((await refusal(unknown.tokens.get())).code).toBe('secret-unavailable')
    expect(asked).toHaveLength(0)
  })

  it('is waited for no longer than its time, or the session’s', async () => {
    const begun = Promise.withResolvers<void>()
    answer = () => begun.resolve()
    const late = open()
    const waiting = refusal(late.tokens.get())
    await begun.promise
    late.clock.advance(10_000)
    expect((await waiting).message).toMatch(/no answer in time|aborted/)
    const cut = open()
    const given = refusal(cut.tokens.get())
    cut.abort.abort()
    expect((await given).code).toBe('secret-unavailable')
  })
})
