/**
 * A cut, seen by the app: what was on its way to it, or waited for a connection, goes no further, however slow its client is then. Only
 * what the kernel had been given before may still arrive: that is out of the proxy's hands.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { connect as connectHttp2 } from 'node:http2'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { frame } from '../fakes/http2-frames.ts'
import { httpTerms } from '../fakes/http-app.ts'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { copyCertificates, type TestCertificates } from '../fakes/tls.ts'

const versions = ['1.1', '2'] as const
type Version = (typeof versions)[number]

/** Sockets that this process opened, the proxy's to the app among them. */
const opened: Socket[] = []
const note = (message: unknown): void => {
  opened.push((message as { socket: Socket }).socket)
}

let certificates: TestCertificates
beforeAll(async () => {
  subscribe('net.client.socket', note)
  certificates = await copyCertificates(domain)
})
afterAll(() => {
  unsubscribe('net.client.socket', note)
  certificates.remove()
})

/** An app by hand: `take` is given each of its connections. */
async function startApp(take: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  let calls = 0
  const app: Server = createServer((socket) => {
    calls += 1
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
    take(socket)
  })
  await new Promise<void>((resolve) => {
    app.listen(0, '127.0.0.1', resolve)
  })
  const { port } = app.address() as AddressInfo
  const before = opened.length
  return {
    ...{ sockets, port },
    get calls() {
      return calls
    },
    /** The proxy's ends of its connections. */
    get callers() {
      return opened.slice(before).filter(({ remotePort }) => remotePort === port)
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => app.close(resolve))
    },
  }
}

/** Nothing ends by itself: neither its farewell nor what it waits for clients. */
async function siteBefore(port: number, version: Version, tls: 'disable' | 'require') {
  const site = await startHttpSite({
    certificates,
    limits: { lingerMs: 60_000 },
    gate: {
      ...{ level: 'write', farewellMs: 60_000, http: httpTerms({ version }) },
      upstream: { host: '127.0.0.1', port, serverName: 'app.internal', tls },
    },
  })
  return Object.assign(site, {
    async [Symbol.asyncDispose]() {
      await Promise.all(site.gate.sessions.map((session) => session[Symbol.asyncDispose]()))
      await site.close()
    },
  })
}

/** A client that takes nothing of any body, and so keeps its answers open after a cut. */
function slowClient({ server }: HttpSite) {
  const session = connectHttp2(`https://127.0.0.1:${server.port}`, {
    ...{ ca: certificates.caPem, servername: `wiki.${domain}` },
    checkServerIdentity: () => undefined,
    settings: { initialWindowSize: 0 },
  })
  session.on('error', () => {})
  const statuses: number[] = []
  return {
    statuses,
    ask(path: string, body?: Buffer) {
      const stream = session.request(
        {
          ...{ ':method': body === undefined ? 'GET' : 'POST', ':path': path },
          ...{ ':authority': `wiki.${domain}`, authorization: `Bearer ${apiToken}` },
        },
        { endStream: body === undefined },
      )
      stream.on('error', () => {})
      stream.on('response', (headers) => statuses.push(Number(headers[':status'])))
      if (body !== undefined) stream.write(body)
    },
    [Symbol.dispose]: () => session.destroy(),
  }
}

const body = Buffer.alloc(8 * 1024 * 1024, 'x')
/** Settings and windows of an app that takes as much of a body as there is. */
const wideOpen = Buffer.concat([
  frame('settings', 0, 0, Buffer.from([0, 4, 0x7f, 0xff, 0xff, 0xff])),
  frame('windowUpdate', 0, 0, Buffer.from([0x7f, 0, 0, 0])),
])

test.each(versions)(
  'HTTP/%s: bodies that the app does not take end with their connections, whoever of its clients has heard of it',
  async (version) => {
    let got = 0
    let isTaking = false
    await using app = await startApp((socket) => {
      if (version === '2') socket.write(wideOpen)
      socket.on('data', ({ length }: Buffer) => {
        got += length
        if (got > 4_096 && !isTaking) socket.pause()
      })
    })
    await using site = await siteBefore(app.port, version, 'disable')
    using client = slowClient(site)
    client.ask('/0')
    client.ask('/1')
    await eventually(() => site.gate.records.length === 2 && got > 0)
    client.ask('/2', body)
    await eventually(() => got > 4_096)
    const session = site.gate.sessions[0]!
    let before = -1
    let same = 0
    // Until everything between is full.
    await eventually(() => {
      same = session.forwardedBytes === before ? same + 1 : 0
      before = session.forwardedBytes
      return same > 10
    })
    const { callers } = app
    expect(callers).toHaveLength(version === '2' ? 1 : 3)
    session.cut()
    // In that very call: what they hold goes nowhere.
    expect(callers.map(({ destroyed }) => destroyed)).toEqual(callers.map(() => true))
    isTaking = true
    for (const socket of app.sockets) socket.resume()
    await eventually(() => app.sockets.size === 0 && client.statuses.length === 3)
    expect(client.statuses).toEqual([403, 403, 403])
    expect(session.forwardedBytes).toBe(before)
    expect(got).toBeLessThan(body.length)
    expect(app.calls).toBe(callers.length)
  },
)

test.each(versions)(
  'HTTP/%s: requests that wait for the app’s handshake are never sent, and it is not called anew',
  async (version) => {
    const secureContext = createSecureContext({
      cert: certificates.read('resource', 'crt'),
      key: certificates.read('resource', 'key'),
    })
    let got = ''
    await using app = await startApp(() => {})
    await using site = await siteBefore(app.port, version, 'require')
    using client = slowClient(site)
    for (let each = 0; each < 5; each++) client.ask(`/${each}`)
    const dialled = version === '2' ? 1 : 5
    await eventually(() => site.gate.records.length === 5 && app.calls === dialled)
    const sockets = [...app.sockets]
    site.gate.sessions[0]!.cut()
    // Now the app goes on with its handshakes.
    for (const socket of sockets) {
      const encrypted = new TLSSocket(socket, {
        ...{ isServer: true, secureContext },
        ALPNProtocols: [version === '2' ? 'h2' : 'http/1.1'],
      })
      encrypted.on('error', () => {})
      encrypted.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')))
    }
    await eventually(() => client.statuses.length === 5 && app.sockets.size === 0)
    expect(got).toBe('')
    expect(client.statuses).toEqual([403, 403, 403, 403, 403])
    expect(app.calls).toBe(dialled)
  },
)
