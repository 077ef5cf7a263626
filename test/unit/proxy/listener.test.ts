import { connect, type Socket } from 'node:net'
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { Engine, Gate, Host } from '../../../protocols/engine.ts'
import { systemClock } from '../../../protocols/kit/clock.ts'
import { defaultLimits, type Limits } from '../../../protocols/kit/limits.ts'
import type { ProxyIdentity } from '../../../proxy/identity/proxy-identity.ts'
import {
  createConnectionLimits,
  openListener,
  type ConnectionLimits,
  type Listener,
} from '../../../proxy/listener.ts'
import { createTlsContexts } from '../../../proxy/tls-contexts.ts'
import { silentLog } from '../../fakes/proxy-world.ts'
import { createTestClock } from '../../test-clock.ts'
import { newAuthority } from '../certs/world.ts'
import { createKeyAndRequest } from '../../../certs/request.ts'
import { issueServerCertificate } from '../../../certs/issue-server.ts'

const opened: { close(): void }[] = []
afterEach(() => {
  for (const each of opened.splice(0)) each.close()
})

interface Setup {
  listener: Listener
  connections: ConnectionLimits
  served: { connection: Socket; host: Host }[]
  refused: string[]
  clock: ReturnType<typeof createTestClock>
}

async function setUp(limits: Partial<Limits>, serve?: Engine['serve']): Promise<Setup> {
  const all = { ...defaultLimits, ...limits }
  const connections = createConnectionLimits(all)
  const served: Setup['served'] = []
  const refused: string[] = []
  const clock = createTestClock()
  const listener = await openListener({
    engine: {
      name: 'postgres',
      defaultPort: 5432,
      serve:
        serve ??
        ((connection, _gate, host) => {
          served.push({ connection, host })
          return new Promise((resolve) => connection.once('close', () => resolve()))
        }),
    },
    address: { host: '127.0.0.1', port: 0 },
    gateFor: () => ({}) as Gate,
    host: {
      tlsContext: () => undefined,
      hostKeys: () => Promise.resolve(undefined),
      domain: 'access.test',
      clock,
      limits: all,
      log: silentLog,
      refused() {},
    },
    connections,
    clock,
    limits: all,
    metrics: { refused: (_protocol, code) => void refused.push(code) },
    log: silentLog,
  })
  opened.push(listener)
  return { listener, connections, served, refused, clock }
}

function client(port: number): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  opened.push({ close: () => socket.destroy() })
  return socket
}

const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => socket.once('close', () => resolve()))

describe('a listener', () => {
  it('holds its limit of handshakes per address, and a finished one makes room', async () => {
    const { listener, connections, served, refused } = await setUp({ handshakesPerAddressMax: 2 })
    client(listener.port)
    client(listener.port)
    await expect.poll(() => served.length).toBe(2)
    await closed(client(listener.port).resume())
    expect(refused).toEqual(['limit-reached'])
    served[0]!.host.handshakeDone(served[0]!.connection)
    served[0]!.host.handshakeDone(served[0]!.connection)
    expect(connections.handshakes).toBe(1)
    client(listener.port)
    await expect.poll(() => served.length).toBe(3)
    for (const { connection } of served) connection.destroy()
    await expect.poll(() => connections.open + connections.handshakes).toBe(0)
  })

  it.each<[string, Partial<Limits>]>([
    ['handshakes per address', { handshakesPerAddressMax: 2 }],
    ['handshakes', { handshakesMax: 2 }],
    ['connections', { connectionsMax: 2 }],
  ])(
    'ends the oldest connection on which nobody was admitted for a new one at its limit of %s',
    async (_name, limits) => {
      const { listener, connections, served, refused, clock } = await setUp(limits)
      const first = client(listener.port).resume()
      await expect.poll(() => served.length).toBe(1)
      client(listener.port)
      await expect.poll(() => served.length).toBe(2)
      const [one, other] = served
      // The older of the two is still amid its handshake.
      other!.host.handshakeWaits(other!.connection)
      await closed(first.destroy())
      await expect.poll(() => connections.open).toBe(1)
      client(listener.port)
      await expect.poll(() => served.length).toBe(3)
      expect(other!.connection.destroyed).toBe(false)
      client(listener.port)
      await expect.poll(() => served.length).toBe(4)
      expect(other!.connection.destroyed).toBe(true)
      expect(served.slice(2).map(({ connection }) => connection.destroyed)).toEqual([false, false])
      expect(connections).toMatchObject({ open: 2, handshakes: 2 })
      expect([one!.connection.destroyed, refused]).toEqual([true, []])
      // Where nobody waits, the new one is refused as ever.
      await closed(client(listener.port).resume())
      expect(refused).toEqual(['limit-reached'])
      expect(clock.pendingTimers).toBe(2)
    },
  )

  it('leaves the time of a connection that waits to its engine, and an admitted one its place', async () => {
    const { listener, connections, served, clock } = await setUp({ handshakesPerAddressMax: 1 })
    client(listener.port)
    await expect.poll(() => served.length).toBe(1)
    const { host, connection } = served[0]!
    host.handshakeWaits(connection)
    clock.advance(60_000)
    expect(connections.handshakes).toBe(1)
    host.handshakeDone(connection)
    client(listener.port)
    await expect.poll(() => served.length).toBe(2)
    expect(connection.destroyed).toBe(false)
    expect(connections).toMatchObject({ open: 2, handshakes: 1 })
  })

  it('holds its limit of connections', async () => {
    const { listener, connections, served } = await setUp({ connectionsMax: 1 })
    client(listener.port)
    await expect.poll(() => served.length).toBe(1)
    await closed(client(listener.port).resume())
    expect(connections.open).toBe(1)
  })

  it('ends a handshake that its engine does not end', async () => {
    const { listener, served, clock } = await setUp({})
    const socket = client(listener.port).resume()
    await expect.poll(() => served.length).toBe(1)
    clock.advance(60_000)
    await closed(socket)
    expect(clock.pendingTimers).toBe(0)
  })

  it('outlives an engine that fails', async () => {
    const { listener } = await setUp({}, () => Promise.reject(new Error('a bug')))
    await closed(client(listener.port).resume())
    await closed(client(listener.port).resume())
    expect(listener.isListening).toBe(true)
  })

  it('takes nobody any more once it is closed', async () => {
    const { listener, served } = await setUp({})
    client(listener.port)
    await expect.poll(() => served.length).toBe(1)
    listener.close()
    expect(listener.isListening).toBe(false)
    await closed(client(listener.port))
    expect(served[0]!.connection.destroyed).toBe(false)
  })
})

describe('TLS contexts', () => {
  it('are the same for every name of the domain, known or not, and none for others', async () => {
    const proxies = await newAuthority('proxies', systemClock)
    const people = await newAuthority('people', systemClock)
    const { requestPem, privateKeyPem } = await createKeyAndRequest()
    const issue = () =>
      issueServerCertificate(proxies, {
        requestPem,
        dnsNames: ['*.access.test', 'access.test'],
        validForMs: 3_600_000,
        clock: systemClock,
      })
    let identity = {
      serverCertificatePem: (await issue()).certificatePem,
      serverKeyPem: privateKeyPem,
    } as ProxyIdentity
    const contexts = createTlsContexts({
      domain: 'access.test',
      identity: () => identity,
      peopleAuthoritiesPem: () => [people.certificatePem],
    })
    const context = contexts.contextFor('orders-db.access.test')
    expect(context).toBeDefined()
    for (const name of [undefined, '', 'ACCESS.test', 'nothing.Access.Test']) {
      expect(contexts.contextFor(name)).toBe(context)
    }
    for (const name of ['a.b.access.test', 'evil.test', 'xaccess.test', '.access.test.evil.test']) {
      expect(contexts.contextFor(name)).toBeUndefined()
    }

    const server = createTlsServer({
      SNICallback: (name, done) => done(null, contexts.contextFor(name)),
    })
    server.on('tlsClientError', () => undefined)
    server.on('secureConnection', (socket) => socket.on('error', () => undefined).end())
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const serialSeen = (maxVersion: 'TLSv1.2' | 'TLSv1.3' | 'TLSv1.1'): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = tlsConnect({
          host: '127.0.0.1',
          port,
          servername: 'orders-db.access.test',
          ca: proxies.certificatePem,
          minVersion: 'TLSv1.1',
          maxVersion,
        })
        socket.on('error', reject)
        socket.on('session', () => reject(new Error('a session to resume')))
        socket.on('secureConnect', () => {
          resolve(socket.getPeerCertificate().serialNumber)
          socket.destroy()
        })
      })
    try {
      const before = await serialSeen('TLSv1.3')
      expect(await serialSeen('TLSv1.2')).toBe(before)
      await expect(serialSeen('TLSv1.1')).rejects.toThrow()
      identity = { ...identity, serverCertificatePem: (await issue()).certificatePem }
      contexts.reload()
      expect(await serialSeen('TLSv1.3')).not.toBe(before)
    } finally {
      server.close()
    }
  })
})
