/** As much of control as one proxy needs: join, feed, confirmations, and a place for the audit. Decides in memory. */
import { createHash, randomUUID, X509Certificate } from 'node:crypto'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { issuePersonCertificate } from '../../certs/issue-person.ts'
import { issueProxyCertificate } from '../../certs/issue-proxy.ts'
import { issueServerCertificate } from '../../certs/issue-server.ts'
import { createKeyAndRequest } from '../../certs/request.ts'
import { decodeBatches } from '../../control/api/audit/decode.ts'
import { toControl, type FeedEvent, type ToProxy } from '../../control/api/feed.ts'
import { signToken, type GrantClaims } from '../../control/api/tokens.ts'
import { systemClock, type Timer } from '../../protocols/kit/clock.ts'
import { newAuthority } from '../unit/certs/world.ts'
import { createSigningKey } from './proxy-world.ts'

const clock = systemClock
const domain = 'access.localhost'

export async function createFakeControl() {
  const [people, proxies, authority] = await Promise.all([
    newAuthority('people', clock),
    newAuthority('proxies', clock),
    newAuthority('control', clock),
  ])
  const signing = createSigningKey()
  const proxyId = randomUUID()
  const serving = await createKeyAndRequest()
  const served = await issueServerCertificate(authority, {
    requestPem: serving.requestPem,
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    validForMs: 3_600_000,
    clock,
  })
  const events: FeedEvent[] = [
    { kind: 'keys', keys: [{ kid: signing.kid, publicKeyPem: signing.publicKeyPem }] },
    { kind: 'people-authorities', pems: [people.certificatePem] },
  ]
  const grants = new Map<string, { claims: GrantClaims; token: string; isLive: boolean }>()
  const entries: { type: string; sessionId: string | undefined; meta: string; atUs: number }[] = []
  let lastBatch = -1

  async function joined(body: string): Promise<object> {
    const { clientRequestPem, serverRequestPem } = JSON.parse(body) as Record<string, string>
    const common = { validForMs: 3_600_000, clock }
    const client = await issueProxyCertificate(proxies, {
      ...common,
      requestPem: clientRequestPem!,
      realm: 'default',
      proxyId,
    })
    const wildcard = await issueServerCertificate(proxies, {
      ...common,
      requestPem: serverRequestPem!,
      dnsNames: [`*.${domain}`, domain],
    })
    return {
      proxyId,
      realm: 'default',
      group: 'default',
      domain,
      clientCertificatePem: client.certificatePem,
      serverCertificatePem: wildcard.certificatePem,
      controlAuthorityPem: authority.certificatePem,
      peopleAuthoritiesPem: people.certificatePem,
      demo: false,
    }
  }

  async function answer(path: string, body: Buffer): Promise<object> {
    if (path === '/v1/proxy/join') return joined(body.toString())
    if (path !== '/v1/proxy/audit/segments') return { done: true }
    let epoch = ''
    for (const batch of decodeBatches(body)) {
      epoch = batch.epoch
      lastBatch = batch.number
      for (const { type, sessionId, meta, atUs } of batch.entries) {
        const text = type === 'activity' || type === 'outcome' ? '' : meta.toString()
        entries.push({ type, sessionId, meta: text, atUs })
      }
    }
    return { epoch, acknowledgedBatch: lastBatch, countersignature: 'x', quarantined: 0 }
  }

  let port = 0
  let stop: (() => Promise<void>) | undefined
  let tell: (message: ToProxy) => void = () => undefined

  async function start(): Promise<void> {
    const server = createServer(
      {
        key: serving.privateKeyPem,
        cert: served.certificatePem + authority.certificatePem,
        ca: proxies.certificatePem,
        requestCert: true,
        rejectUnauthorized: false,
        minVersion: 'TLSv1.3',
      },
      (request, response) => {
        const chunks: Buffer[] = []
        request.on('data', (chunk: Buffer) => chunks.push(chunk))
        request.on('end', () => {
          void answer(request.url ?? '', Buffer.concat(chunks)).then((body) =>
            response.end(JSON.stringify(body)),
          )
        })
      },
    )
    const sockets = new WebSocketServer({ noServer: true })
    let heartbeat: Timer | undefined
    server.on('upgrade', (request, socket, head) =>
      sockets.handleUpgrade(request, socket, head, (peer) => {
        tell = (message) => {
          if (peer.readyState === WebSocket.OPEN) peer.send(JSON.stringify(message))
        }
        const beat = async (): Promise<void> => {
          const position = events.length
          const issuedAtMs = clock.wallMs()
          const claims = { realm: 'default', proxyId, position, issuedAtMs }
          const lease = await signToken('lease', claims, signing.key)
          tell({ kind: 'heartbeat', controlTimeMs: clock.wallMs(), position, lease })
        }
        const again = (): void => {
          heartbeat?.cancel()
          heartbeat = clock.startTimer(500, () => void beat().then(again))
        }
        peer.on('close', () => heartbeat?.cancel())
        peer.on('message', (data: Buffer) => {
          const message = toControl.parse(JSON.parse(data.toString()))
          if (message.kind === 'hello') {
            const controlTimeMs = clock.wallMs()
            tell({ kind: 'welcome', proxyId, group: 'default', domain, controlTimeMs })
            const missed = events.slice(message.cursor)
            tell({ kind: 'events', position: events.length, events: missed })
            void beat().then(again)
          } else if (message.kind === 'time') {
            tell({ ...message, controlTimeMs: clock.wallMs() })
          } else if (message.kind === 'confirm') {
            const common = {
              requestId: message.requestId,
              position: events.length,
              controlTimeMs: clock.wallMs(),
            }
            const grant = [...grants.values()].find(
              ({ claims, isLive }) =>
                isLive &&
                claims.personId === message.personId &&
                claims.resource === message.resource &&
                claims.expiresAtMs > clock.wallMs(),
            )
            if (grant === undefined) tell({ kind: 'denied', why: 'no-grant', ...common })
            else tell({ kind: 'confirmed', token: grant.token, ...common })
          }
        })
      }),
    )
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    port = (server.address() as AddressInfo).port
    stop = () => {
      heartbeat?.cancel()
      for (const peer of sockets.clients) peer.terminate()
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    }
  }
  await start()

  const publish = (event: FeedEvent): void => {
    events.push(event)
    tell({ kind: 'events', position: events.length, events: [event] })
  }

  return {
    proxyId,
    domain,
    url: () => `https://127.0.0.1:${port}`,
    proxiesAuthorityPem: proxies.certificatePem,
    joinToken: () => {
      const der = new X509Certificate(authority.certificatePem).raw
      return `sallyport-join.${'s'.repeat(32)}.${createHash('sha256').update(der).digest('hex')}`
    },
    /** Everything the proxy shipped, in order. */
    entries,
    publish,
    async person(email: string) {
      const { requestPem, privateKeyPem } = await createKeyAndRequest()
      const personId = randomUUID()
      const common = { realm: 'default', validForMs: 3_600_000, clock }
      const options = { ...common, requestPem, personId, email }
      const { certificatePem } = await issuePersonCertificate(people, options)
      return { personId, email, certificatePem, privateKeyPem }
    },
    async grant(
      personId: string,
      resource: string,
      forMs: number,
      change: Partial<GrantClaims> = {},
    ) {
      const nowMs = clock.wallMs()
      const claims: GrantClaims = {
        realm: 'default',
        grantId: randomUUID(),
        revision: 1,
        personId,
        personEmail: 'dev@example.test',
        resource,
        level: 'read',
        group: 'default',
        issuedAtMs: nowMs,
        notBeforeMs: nowMs,
        expiresAtMs: nowMs + forMs,
        ...change,
      }
      const token = await signToken('grant', claims, signing.key)
      grants.set(claims.grantId, { claims, token, isLive: true })
      publish({ kind: 'grant', token })
      return claims
    },
    revoke({ grantId, revision }: GrantClaims) {
      grants.get(grantId)!.isLive = false
      publish({
        kind: 'grant-revoked',
        grantId,
        revision: revision + 1,
        orderedAtMs: clock.wallMs(),
        reason: 'test',
      })
    },
    /** Goes away, and comes back on the same port. */
    stop: () => stop!(),
    start,
  }
}

export type FakeControl = Awaited<ReturnType<typeof createFakeControl>>
