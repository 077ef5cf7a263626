/**
 * Port forwarding, the agent and X11 through the whole product: refused and written down unless the resource declares it, and audited with
 * its bytes where it does. A tunnel that carries what it was not declared for is cut, so that no session hides in one.
 */
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http'
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SessionView } from '../../control/api/shapes.ts'
import { freePort } from '../../deploy/ports.ts'
import { eventually } from '../demo-site.ts'
import { startAgent, type RunningAgent } from '../fakes/ssh-login.ts'
import { makeKey, publicKeyBlob, startSshd, type SshdSite } from '../fakes/sshd-site.ts'
import { ranToEnd, type Ran } from '../ran-to-end.ts'
import { startSshStack, ways, type SshPerson, type SshStack } from '../ssh-stack.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'

let stack: SshStack
let dev: SshPerson
/** Behind the resource: another sshd, a database, a page, and what answers as it is spoken to. */
let inner: SshdSite
let database: PostgresServer
let page: HttpServer
let echo: Server
/** Where the resource may be asked to listen. */
let remotePort: number
let agent: RunningAgent
const portOf = (server: Server | HttpServer): number => (server.address() as AddressInfo).port

beforeAll(async () => {
  page = createHttpServer((_request, response) => response.end('a page behind'))
  echo = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  for (const server of [page, echo]) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  }
  ;[inner, database, remotePort] = await Promise.all([
    startSshd(),
    startPostgresServer(),
    freePort(),
  ])
  const levels = ['read' as const]
  const to = (port: number, carries: 'tcp' | 'ssh' | 'postgres' | 'http') => {
    return { host: '127.0.0.1', port, carries, levels }
  }
  const listens = { direction: 'remote' as const, host: 'localhost', port: remotePort, levels }
  stack = await startSshStack({
    resources: {
      declared: {
        agentForwarding: levels,
        tunnels: [
          ...[to(inner.port, 'ssh'), to(database.port, 'postgres'), to(portOf(page), 'http')],
          ...[to(portOf(echo), 'tcp'), { ...listens, carries: 'http' as const }],
        ],
      },
      plain: {
        tunnels: [
          ...[inner.port, database.port, portOf(page)].map((port) => to(port, 'tcp')),
          { ...listens, carries: 'tcp' as const },
        ],
      },
    },
  })
  dev = await stack.person('dev')
  for (const resource of ['web1', 'declared', 'plain']) await stack.grant(dev, { resource })
  agent = await startAgent(dev.home)
})
afterAll(async () => {
  agent?.stop()
  await Promise.all([stack?.stop(), inner?.stop(), database?.stop()])
  page.closeAllConnections()
  page.close()
  echo.close()
})

/** An ssh that forwards, while `use` runs. */
async function whileForwarding<T>(
  to: string,
  flags: readonly string[],
  use: () => Promise<T>,
): Promise<Ran & { readonly result: T }> {
  const client = dev.start('ssh', ['-o', 'LogLevel=INFO', ...flags, to, 'echo up; exec cat'])
  // It may be cut meanwhile.
  client.stdin.on('error', () => undefined)
  let up = ''
  client.stdout.on('data', (chunk: Buffer) => (up += chunk.toString()))
  const ended = ranToEnd(client)
  await eventually(
    () => up,
    (text) => text.includes('up') || client.exitCode !== null,
  )
  const result = await use()
  client.stdin.end()
  return { ...(await ended), result }
}

/** What comes back over a new connection to a port here until it closes, or until `enough` of it is there. */
function exchange(port: number, said: Buffer | string, enough = Infinity): Promise<string> {
  return new Promise((resolve) => {
    let got = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(said))
    socket.on('data', (chunk) => {
      got += chunk.toString('latin1')
      if (got.length >= enough) socket.end()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(got))
  })
}

const query = (port: number): Promise<Ran> => {
  const place = `host=127.0.0.1 port=${port} user=postgres password=postgres dbname=postgres`
  return dev.run('psql', [`${place} connect_timeout=20`, '-Atc', 'select 6 * 7'])
}
const innerSsh = (port: number): Promise<Ran> =>
  dev.run('env', [
    ...['ssh', '-F', 'none', '-i', join(inner.folder, 'client'), '-p', String(port)],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
    ...['-o', 'IdentitiesOnly=yes', `${inner.account}@127.0.0.1`, 'echo inside'],
  ])

/** What was done through channels, of such a target and since then, once it is settled. */
async function channelOf(target: string, sinceMs: number) {
  const found = await stack.activities(dev, (all) => all.some(wanted))
  return found.find(wanted)!

  function wanted({ kind, text, atUs, outcome }: (typeof found)[number]): boolean {
    return kind === 'channel' && text === target && atUs >= sinceMs * 1_000 && outcome !== null
  }
}

async function sessionSince(sinceMs: number): Promise<SessionView> {
  const isIt = ({ openedAtMs, closedAtMs }: SessionView): boolean =>
    openedAtMs >= sinceMs && closedAtMs !== null
  const found = await stack.sessions(dev, (all) => all.some(isIt))
  return found.find(isIt)!
}

const ask = 'GET / HTTP/1.0\r\n\r\n'
const refused = { status: 'skipped', errorCode: 'not-allowed', bytesUp: 0, bytesDown: 0 }

describe.each(Object.entries(ways))('nobody declared it, by the %s way:', (_way, to) => {
  test.each([
    ['another sshd', () => inner.port, innerSsh, 255],
    ['PostgreSQL', () => database.port, query, 2],
  ] as const)(
    '-L to %s is refused with a reason, and written down',
    async (_name, at, use, code) => {
      const [local, began] = [await freePort(), Date.now()]
      const target = `127.0.0.1:${at()}`
      const ran = await whileForwarding(to('web1'), ['-L', `${local}:${target}`], () => use(local))
      expect(ran.result).toMatchObject({ code, out: Buffer.alloc(0) })
      expect(ran.err).toContain(`web1 declares no tunnel to ${target} at level read`)
      expect(ran.code).toBe(0)
      expect((await channelOf(target, began)).outcome).toMatchObject(refused)
    },
  )

  test('-D and -R are refused, and written down', async () => {
    const [local, began] = [await freePort(), Date.now()]
    const target = `127.0.0.1:${portOf(page)}`
    const { result } = await whileForwarding(to('web1'), ['-D', String(local)], () =>
      exchange(local, socks(portOf(page)), 8),
    )
    expect(result).toBe('')
    expect((await channelOf(target, began)).outcome).toMatchObject(refused)
    const strict = ['-o', 'ExitOnForwardFailure=yes', '-R', `${remotePort}:127.0.0.1:1`]
    expect(await dev.ssh([...strict, to('web1'), 'echo on'])).toMatchObject({
      ...{ code: 255, out: Buffer.alloc(0) },
    })
    const asked = await channelOf(`localhost:${remotePort}`, began)
    expect(asked.outcome).toMatchObject(refused)
  })

  test('sockets of files are refused, and written down', async () => {
    const [local, began] = [await freePort(), Date.now()]
    const ran = await whileForwarding(to('web1'), ['-L', `${local}:/run/of-${_way}.sock`], () =>
      exchange(local, ask),
    )
    expect(ran.result).toBe('')
    expect(ran.err).toContain(`web1 declares no tunnel to /run/of-${_way}.sock`)
    expect((await channelOf(`/run/of-${_way}.sock`, began)).outcome).toMatchObject(refused)
    const strict = ['-o', 'ExitOnForwardFailure=yes', '-R', `/tmp/by-${_way}.sock:127.0.0.1:1`]
    expect((await dev.ssh([...strict, to('web1'), 'echo on'])).code).toBe(255)
    expect((await channelOf(`/tmp/by-${_way}.sock`, began)).outcome).toMatchObject(refused)
  })

  test('X11 is refused in words, written down, and the session goes on', async () => {
    const began = Date.now()
    const x11 = ['env', 'DISPLAY=:99', 'ssh', '-F', dev.config, '-o', 'LogLevel=INFO', '-Y']
    const [program, ...flags] = x11 as [string, ...string[]]
    const ran = await dev.run(program, [...flags, to('web1'), 'echo on'])
    expect(ran).toMatchObject({ code: 0, out: Buffer.from('on\n') })
    expect(ran.err).toContain('X11 forwarding request failed')
    expect((await channelOf('x11', began)).outcome).toMatchObject(refused)
    // A terminal is told by whom; what runs without one gets nothing in its streams.
    const shown = await dev.run(program, [...flags, '-tt', to('web1'), 'echo on'])
    expect(shown.out.toString()).toContain('sallyport: X11 is not forwarded through this proxy')
  })
})

test('a terminal is told why a -R of before it was refused', async () => {
  const flags = ['-tt', '-R', `${remotePort}:127.0.0.1:1`]
  const ran = await dev.ssh([...flags, ways.jump('web1'), 'echo on'])
  expect(ran.out.toString()).toContain(`web1 declares no tunnel to localhost:${remotePort}`)
  expect(ran.out.toString()).toContain('on\r\n')
})

describe.each(Object.entries(ways))('the resource declares it, by the %s way:', (_way, to) => {
  test.each([
    ['another sshd', () => inner.port, innerSsh, 'inside\n'],
    ['PostgreSQL', () => database.port, query, '42\n'],
  ] as const)(
    '-L to %s works, and is written down with its bytes',
    async (_name, at, use, says) => {
      const [local, began] = [await freePort(), Date.now()]
      const target = `127.0.0.1:${at()}`
      const { result } = await whileForwarding(
        ...[to('declared'), ['-L', `${local}:${target}`], () => use(local)],
      )
      expect(result.out.toString(), result.err).toBe(says)
      const { outcome } = await channelOf(target, began)
      expect(outcome!.status).toBe('ok')
      expect(outcome!.bytesUp).toBeGreaterThan(50)
      expect(outcome!.bytesDown).toBeGreaterThan(100)
    },
  )

  test('-D works, and counts every byte', async () => {
    const [local, began] = [await freePort(), Date.now()]
    const said = Buffer.concat([socks(portOf(page)), Buffer.from(ask)])
    const { result } = await whileForwarding(to('declared'), ['-D', String(local)], () =>
      exchange(local, said),
    )
    expect(result).toContain('a page behind')
    expect((await channelOf(`127.0.0.1:${portOf(page)}`, began)).outcome).toMatchObject({
      ...{ status: 'ok', bytesUp: ask.length, bytesDown: result.length - 8 },
    })
  })

  test('-R works, and counts every byte', async () => {
    const began = Date.now()
    const reverse = ['-R', `${remotePort}:127.0.0.1:${portOf(page)}`]
    const { result } = await whileForwarding(to('declared'), reverse, () =>
      exchange(remotePort, ask),
    )
    expect(result).toContain('a page behind')
    expect((await channelOf(`localhost:${remotePort}`, began)).outcome).toMatchObject({
      ...{ status: 'ok', bytesUp: result.length, bytesDown: ask.length },
    })
  })

  test('plain TCP carries what nobody knows', async () => {
    const local = await freePort()
    const forward = ['-L', `${local}:127.0.0.1:${portOf(echo)}`]
    const { result } = await whileForwarding(to('declared'), forward, () =>
      exchange(local, 'some words\n', 11),
    )
    expect(result).toBe('some words\n')
  })

  test.each([
    ['SSH', () => inner.port, innerSsh],
    ['PostgreSQL', () => database.port, query],
    ['HTTP', () => portOf(page), (port: number) => exchange(port, ask)],
  ] as const)('declared as plain TCP and used for %s, -L and -R are cut', async (name, at, use) => {
    const [local, far] = [await freePort(), `127.0.0.1:${at()}`]
    await isCut(name, far, local, ['-L', `${local}:${far}`], use)
    await isCut(name, `localhost:${remotePort}`, remotePort, ['-R', `${remotePort}:${far}`], use)
  })

  async function isCut(
    name: string,
    target: string,
    port: number,
    flags: readonly string[],
    use: (port: number) => Promise<Ran | string>,
  ): Promise<void> {
    const began = Date.now()
    const ran = await whileForwarding(to('plain'), flags, () => use(port))
    const got = typeof ran.result === 'string' ? ran.result : ran.result.out.toString()
    expect(got).toBe('')
    expect(ran.code).toBe(255)
    const words = `the tunnel to ${target} is declared for tcp, and carries ${name}`
    expect(ran.err).toContain(words)
    expect(ran.err).toContain('sally resources')
    expect((await channelOf(target, began)).outcome).toMatchObject({
      ...{ status: 'error', errorCode: 'protocol-violation', errorText: words },
    })
    const session = await sessionSince(began)
    expect(session).toMatchObject({
      ...{ endReason: 'protocol-violation', cut: { reason: 'protocol-violation' } },
    })
  }
})

/** SOCKS 4: a connection to a port of 127.0.0.1, for nobody. */
function socks(port: number): Buffer {
  return Buffer.from([4, 1, port >> 8, port & 255, 127, 0, 0, 1, 0])
}

describe.each(Object.entries(ways))('the agent, by the %s way,', (way, to) => {
  test('goes along where the resource says so, without the key that signs in here', async () => {
    const began = Date.now()
    makeKey(dev.home, `other-${way}`)
    const other = publicKeyBlob(join(dev.home, `other-${way}.pub`)).toString('base64')
    for (const key of [join(dev.home, 'ssh', 'id_ed25519'), join(dev.home, `other-${way}`)]) {
      await dev.run('env', [`SSH_AUTH_SOCK=${agent.socket}`, 'ssh-add', '-q', key])
    }
    expect(agent.list().length).toBeGreaterThan(1)
    const withAgent = (name: string): Promise<Ran> =>
      dev.ssh(['-o', `IdentityAgent=${agent.socket}`, '-A', to(name), 'ssh-add -L; echo end'])
    const without = await withAgent('web1')
    expect(without.out.toString()).toBe('end\n')
    expect((await channelOf('agent', began)).outcome).toMatchObject(refused)
    const along = Date.now()
    const listed = (await withAgent('declared')).out.toString()
    expect(listed).toContain(other)
    for (const line of agent.list()) {
      const [, blob] = line.split(' ') as [string, string]
      if (!line.includes('other-')) expect(listed).not.toContain(blob)
    }
    const { outcome } = await channelOf('agent', along)
    expect(outcome!.status).toBe('ok')
    expect(outcome!.bytesUp).toBeGreaterThan(100)
    agent.clear()
  })
})
