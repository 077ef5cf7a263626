import { hash, X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import { joinProxy } from '../../control/issue/join-proxy.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import { startTestControl, type RunningSite } from './running-control.ts'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

describe.each(['embedded', 'postgres'] as const)('joining over the %s store', (engine) => {
  let site: RunningSite
  beforeAll(async () => {
    site = await startTestControl(
      engine === 'embedded' ? {} : { databaseUrl: await server.createDatabase() },
    )
  })
  afterAll(() => site.close())

  const newToken = async () =>
    (await site.admin.call('joinToken', { params: { name: 'default' } })).token
  const requests = async () => {
    const [client, tls] = await Promise.all([createKeyAndRequest(), createKeyAndRequest()])
    return { clientRequestPem: client.requestPem, serverRequestPem: tls.requestPem }
  }
  const join = async (token: string) =>
    joinProxy(site.running.control, '127.0.0.1', { token, name: 'edge', ...(await requests()) })

  test('a token pins control’s authority and is kept only as a hash', async () => {
    const token = await newToken()
    const [, secret, pin] = token.split('.')
    const { certificatePem } = site.running.control.keys.authorities.control
    expect(pin).toBe(hash('sha256', new X509Certificate(certificatePem).raw))
    const rows = await site.running.stores.state.query<{ token_hash: Buffer }>(
      'select token_hash from join_tokens',
    )
    const hashes = rows.map((row) => row.token_hash.toString('hex'))
    expect(hashes).toContain(hash('sha256', Buffer.from(secret!, 'base64url')))
    expect(JSON.stringify(await site.admin.call('auditActions'))).not.toContain(secret)
  })

  test('a token lets one proxy in, once', async () => {
    const token = await newToken()
    const joined = await join(token)
    const leaf = new X509Certificate(joined.serverCertificatePem)
    expect(leaf.subjectAltName).toContain('DNS:*.access.example.test')
    expect(leaf.subjectAltName).toContain('DNS:access.example.test')
    await expect(join(token)).rejects.toMatchObject({ code: 'join-token-invalid' })
  })

  test('of two that come at once, one is let in', async () => {
    const token = await newToken()
    const results = await Promise.allSettled([join(token), join(token), join(token)])
    expect(results.map((result) => result.status).sort()).toEqual([
      ...['fulfilled', 'rejected', 'rejected'],
    ])
  })

  test('a token ends after fifteen minutes', async () => {
    const token = await newToken()
    site.clock.shiftMs = 15 * 60_000 + 1
    try {
      await expect(join(token)).rejects.toMatchObject({ code: 'join-token-invalid' })
    } finally {
      site.clock.shiftMs = 0
    }
  })

  test('a bad certificate request does not use the token up', async () => {
    const token = await newToken()
    await expect(
      joinProxy(site.running.control, '', {
        token,
        name: 'edge',
        clientRequestPem: 'nonsense',
        serverRequestPem: 'nonsense',
      }),
    ).rejects.toMatchObject({ code: 'request-invalid' })
    await join(token)
  })

  test('a mistyped, an unknown and a used token are refused in the same words', async () => {
    const used = await newToken()
    await join(used)
    const unknown = used.replace(/\.[^.]+\./, `.${'A'.repeat(43)}.`)
    const refusals = await Promise.all(
      [used, unknown, 'nonsense', ''].map((token) => join(token).catch((error: unknown) => error)),
    )
    const words = refusals.map((error) => (error as { clientMessage: string }).clientMessage)
    expect(new Set(words).size).toBe(1)
  })

  test('attempts over the API are counted, and too many refused', async () => {
    const body = { token: 'x', name: 'edge', ...(await requests()) }
    const codes: number[] = []
    for (let attempt = 0; attempt < 14; attempt += 1) {
      codes.push((await site.ask({}, 'POST', '/v1/proxy/join', body)).status)
    }
    expect(codes.slice(0, 10).every((status) => status === 401)).toBe(true)
    expect(codes.at(-1)).toBe(429)
  })
})
