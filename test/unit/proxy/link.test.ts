import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { issueProxyCertificate } from '../../../certs/issue-proxy.ts'
import { issueServerCertificate } from '../../../certs/issue-server.ts'
import { createKeyAndRequest } from '../../../certs/request.ts'
import { signToken } from '../../../control/api/tokens.ts'
import { toControl, type ToControl, type ToProxy } from '../../../control/api/feed.ts'
import { systemClock } from '../../../protocols/kit/clock.ts'
import { openControlLink, type ControlLink } from '../../../proxy/control-link/open-control-link.ts'
import type { ProxyIdentity } from '../../../proxy/identity/proxy-identity.ts'
import { createSigningKey, grantId, ordersDb, proxyId, silentLog } from '../../fakes/proxy-world.ts'
import { newAuthority } from '../certs/world.ts'

const signing = createSigningKey()
const keys = {
  kind: 'keys' as const,
  keys: [{ kid: signing.kid, publicKeyPem: signing.publicKeyPem }],
}
let directory: string
let server: Server
let control: ControlLink | undefined
let identity: ProxyIdentity
let url: string
/** Connections of the proxy, and what came over each. */
const connections: {
  socket: WebSocket
  messages: ToControl[]
  times: number[]
  serial: string
}[] = []
/** What control does with an upgrade; a status refuses it. */
let refuseWith = 0

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'link-'))
  connections.length = 0
  refuseWith = 0
  const [proxies, authority] = await Promise.all([
    newAuthority('proxies', systemClock),
    newAuthority('control', systemClock),
  ])
  const client = await createKeyAndRequest()
  const serving = await createKeyAndRequest()
  const common = { validForMs: 3_600_000, clock: systemClock }
  const clientIssued = await issueProxyCertificate(proxies, {
    ...common,
    requestPem: client.requestPem,
    realm: 'default',
    proxyId,
  })
  const serverIssued = await issueServerCertificate(authority, {
    ...common,
    requestPem: serving.requestPem,
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
  })
  identity = {
    version: 1,
    proxyId,
    realm: 'default',
    group: 'default',
    domain: 'access.test',
    clientCertificatePem: clientIssued.certificatePem,
    clientKeyPem: client.privateKeyPem,
    serverCertificatePem: clientIssued.certificatePem,
    serverKeyPem: client.privateKeyPem,
    controlAuthorityPem: authority.certificatePem,
    peopleAuthoritiesPem: '',
    demo: false,
  }
  server = createServer({
    key: serving.privateKeyPem,
    cert: serverIssued.certificatePem + authority.certificatePem,
    ca: proxies.certificatePem,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  })
  const sockets = new WebSocketServer({ noServer: true })
  server.on('upgrade', (request, socket, head) => {
    if (refuseWith > 0) {
      socket.end(`HTTP/1.1 ${refuseWith} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
      return
    }
    sockets.handleUpgrade(request, socket, head, (accepted) => {
      const { serialNumber } = (request.socket as TLSSocket).getPeerCertificate()
      const connection = {
        socket: accepted,
        messages: [] as ToControl[],
        times: [] as number[],
        serial: serialNumber,
      }
      accepted.on('message', (data: Buffer) => {
        const message = toControl.parse(JSON.parse(data.toString()))
        if (message.kind === 'time') connection.times.push(message.requestId)
        else connection.messages.push(message)
      })
      connections.push(connection)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  await control?.close()
  control = undefined
  for (const { socket } of connections) socket.terminate()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  rmSync(directory, { recursive: true, force: true })
})

let warnings = ['mend it']

async function open(confirmMs = 300): Promise<ControlLink> {
  control = await openControlLink({
    controlUrl: url,
    directory,
    identity: () => identity,
    bootEpoch: 'epoch',
    version: '0',
    warnings: () => warnings,
    onConfirmed() {},
    clock: systemClock,
    limits: { confirmMs },
    log: silentLog,
  })
  return control
}

async function until(condition: () => boolean): Promise<void> {
  await expect.poll(condition, { timeout: 5_000, interval: 5 }).toBe(true)
}

function say(connection: (typeof connections)[number] | undefined, message: ToProxy): void {
  connection!.socket.send(JSON.stringify(message))
}

const welcome = (controlTimeMs = systemClock.wallMs()): ToProxy => ({
  kind: 'welcome',
  proxyId,
  group: 'default',
  domain: 'access.test',
  controlTimeMs,
})
const question = {
  sessionId: grantId,
  resource: 'orders-db',
  wanted: '',
  protocol: 'postgres' as const,
}

describe('the link to control', () => {
  it('says hello, takes the whole, acknowledges what is on disk, and reads on from there', async () => {
    const first = await open()
    await until(() => connections[0]?.messages.length === 1)
    expect(connections[0]!.messages[0]).toMatchObject({
      ...{ kind: 'hello', cursor: 0, warnings: ['mend it'] },
    })
    say(connections[0], welcome())
    say(connections[0], { kind: 'resync', position: 7, events: [keys], more: true })
    say(connections[0], {
      kind: 'resync',
      position: 7,
      events: [{ kind: 'resource', resource: ordersDb }],
      more: false,
    })
    await until(() => connections[0]!.messages.length === 2)
    expect(connections[0]!.messages[1]).toEqual({ kind: 'applied', position: 7 })
    expect(first.journal.position).toBe(7)
    expect(first.view.resource('orders-db')).toEqual(ordersDb)

    // Half a whole is no whole: the link goes down in the middle of one.
    say(connections[0], { kind: 'resync', position: 9, events: [], more: true })
    connections[0]!.socket.close()
    await until(() => connections[1]?.messages.length === 1)
    expect(connections[1]!.messages[0]).toMatchObject({ kind: 'hello', cursor: 7 })
    expect(first.view.resource('orders-db')).toEqual(ordersDb)
    say(connections[1], {
      kind: 'events',
      position: 8,
      events: [{ kind: 'resource-removed', name: 'orders-db', orderedAtMs: 1 }],
    })
    await until(() => connections[1]!.messages.length === 2)
    expect(connections[1]!.messages[1]).toEqual({ kind: 'applied', position: 8 })
    // What is here already is not applied again.
    say(connections[1], {
      kind: 'events',
      position: 8,
      events: [{ kind: 'resource', resource: ordersDb }],
    })
    say(connections[1], { kind: 'events', position: 9, events: [] })
    await until(() => first.view.position === 9)
    expect(first.view.resource('orders-db')).toBeUndefined()
  })

  it('tells what there is to mend once, when it becomes another, and in the next hello', async () => {
    const link = await open()
    await until(() => connections[0]?.messages.length === 1)
    link.tellWarnings()
    warnings = ['mend it', 'and that']
    link.tellWarnings()
    link.tellWarnings()
    await until(() => connections[0]!.messages.length === 2)
    expect(connections[0]!.messages[1]).toEqual({ kind: 'warnings', warnings })
    // A control that does not know it ends the connection.
    connections[0]!.socket.close(1008)
    await until(() => connections[1]?.messages.length === 1)
    link.tellWarnings()
    expect(connections[1]!.messages[0]).toMatchObject({ kind: 'hello', warnings })
    warnings = ['mend it']
    link.tellWarnings()
    await until(() => connections[1]!.messages.length === 2)
    expect(connections[1]!.messages[1]).toEqual({ kind: 'warnings', warnings })
  })

  it('takes heartbeats: time and lease', async () => {
    const link = await open()
    await until(() => connections[0]?.messages.length === 1)
    say(connections[0], { kind: 'events', position: 1, events: [keys] })
    const issuedAtMs = systemClock.wallMs()
    say(connections[0], {
      kind: 'heartbeat',
      controlTimeMs: issuedAtMs + 60_000,
      position: 1,
      lease: await signToken(
        'lease',
        { realm: 'default', proxyId, position: 1, issuedAtMs },
        signing.key,
      ),
    })
    await until(() => link.freshness.freshAtMonotonicMs !== undefined)
    expect(link.controlClock.skewMs()).toBeGreaterThan(50_000)
  })

  it('keeps to the time that control had while it is away, so that an outage hides no wrong clock', async () => {
    const { controlClock, link } = await open()
    await until(() => connections[0]?.messages.length === 1)
    say(connections[0], welcome(systemClock.wallMs() + 60_000))
    await until(() => controlClock.skewMs() > 50_000)
    connections[0]!.socket.terminate()
    await until(() => link.state === 'away')
    expect(controlClock.skewMs()).toBeGreaterThan(50_000)
    // The next one has its own.
    await until(() => connections[1]?.messages.length === 1)
    expect(controlClock.skewMs()).toBeGreaterThan(50_000)
    say(connections[1], welcome())
    await until(() => Math.abs(controlClock.skewMs()) < 5_000)
  })

  it('asks what time it is, and takes a late answer for no wrong clock', async () => {
    const { controlClock } = await open()
    await until(() => connections[0]?.messages.length === 1)
    const { times } = connections[0]!
    expect(times).toEqual([])
    say(connections[0], welcome())
    await until(() => times.length === 1)
    const time = (requestId: number, aheadMs: number): void =>
      say(connections[0], {
        ...{ kind: 'time', requestId },
        controlTimeMs: systemClock.wallMs() + aheadMs,
      })
    say(connections[0], { kind: 'events', position: 1, events: [keys] })
    const claims = { realm: 'default', proxyId, position: 1, issuedAtMs: systemClock.wallMs() }
    const lease = await signToken('lease', claims, signing.key)
    const controlTimeMs = systemClock.wallMs() - 60_000
    const beat = (): void =>
      say(connections[0], { kind: 'heartbeat', controlTimeMs, position: 1, lease })
    // What nobody asked bounds nothing from above.
    time(99, -60_000)
    time(times[0]!, 0)
    beat()
    await until(() => times.length === 2)
    expect(Math.abs(controlClock.skewMs())).toBeLessThan(1_000)
    // One question at a time.
    beat()
    time(times[1]!, -60_000)
    await until(() => controlClock.skewMs() < -50_000)
    expect(times).toHaveLength(2)
    beat()
    await until(() => times.length === 3)
  })

  it('asks and is answered; silence and a lost link are unreachable, a denial is not', async () => {
    const { confirmations } = await open()
    await until(() => connections[0]?.messages.length === 1)
    const asked = confirmations.ask(question)
    await until(() => connections[0]!.messages.length === 2)
    const { requestId } = connections[0]!.messages[1] as { requestId: number }
    say(connections[0], {
      kind: 'denied',
      requestId,
      why: 'error',
      position: 1,
      controlTimeMs: systemClock.wallMs(),
    })
    expect(await asked).toMatchObject({ kind: 'denied', why: 'error' })
    expect(await confirmations.ask(question)).toMatchObject({ kind: 'unreachable' })

    const lost = confirmations.ask(question)
    connections[0]!.socket.terminate()
    expect(await lost).toMatchObject({ kind: 'unreachable' })
    expect(confirmations.waiting).toBe(0)
    // A late answer to a question of before means nothing.
    await until(() => connections[1]?.messages.length === 1)
    say(connections[1], {
      kind: 'confirmed',
      requestId,
      token: 'x',
      position: 1,
      controlTimeMs: systemClock.wallMs(),
    })
    expect(await confirmations.ask(question)).toMatchObject({ kind: 'unreachable' })
  })

  it('ends a connection that brings what cannot be, and comes again', async () => {
    const { view } = await open()
    for (const bad of [
      'no json',
      '{"kind":"events","position":1}',
      '{"kind":"unheard-of"}',
      JSON.stringify({ ...welcome(), proxyId: grantId }),
      JSON.stringify({
        kind: 'events',
        position: 1,
        events: [{ kind: 'keys', keys: [{ kid: 'a', publicKeyPem: 'no key' }] }],
      }),
    ]) {
      const count = connections.length
      await until(() => connections.at(-1)?.messages.length === 1)
      connections.at(-1)!.socket.send(bad)
      await until(() => connections.length > Math.max(count, 1))
    }
    expect(view.position).toBe(0)
  })

  it('a control that refuses is not away: questions are denied', async () => {
    refuseWith = 403
    const { link, confirmations } = await open()
    await until(() => link.state === 'refused')
    expect(await confirmations.ask(question)).toMatchObject({ kind: 'denied' })
    refuseWith = 503
    await until(() => link.state === 'away')
    expect(await confirmations.ask(question)).toMatchObject({ kind: 'unreachable' })
    refuseWith = 0
    await until(() => link.state === 'up')
  })

  it('trusts no control but the one of its authority', async () => {
    const other = await newAuthority('control', systemClock)
    identity = { ...identity, controlAuthorityPem: other.certificatePem }
    const { link } = await open()
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(link.state).toBe('away')
    expect(connections).toHaveLength(0)
  })
})
