/** Port forwarding and the agent through the whole product: refused unless the resource declares it, and audited where it does. */
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http'
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../../deploy/ports.ts'
import { eventually } from '../demo-site.ts'
import { ranToEnd, startSshStack, ways, type SshPerson, type SshStack } from '../ssh-stack.ts'

let stack: SshStack
let dev: SshPerson
let page: HttpServer
let database: Server
let ports: { page: number; echo: number; remote: number }

beforeAll(async () => {
  page = createHttpServer((_request, response) => response.end('a page behind'))
  // Answers as what is written to it, so any protocol may be spoken.
  database = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  for (const server of [page, database]) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  }
  const portOf = (server: Server | HttpServer): number => (server.address() as AddressInfo).port
  ports = { page: portOf(page), echo: portOf(database), remote: await freePort() }
  const tunnel = { host: '127.0.0.1', levels: ['read' as const] }
  stack = await startSshStack({
    resources: {
      web2: {
        agentForwarding: ['read'],
        tunnels: [
          { ...tunnel, port: ports.page, carries: 'http' },
          { ...tunnel, port: ports.echo },
          { ...tunnel, port: ports.remote, direction: 'remote', host: 'localhost' },
        ],
      },
    },
  })
  dev = await stack.person('dev')
  await stack.grant(dev)
  await stack.grant(dev, { resource: 'web2' })
})
afterAll(async () => {
  await stack?.stop()
  page.closeAllConnections()
  page.close()
  database.close()
})

/** An ssh that forwards, while `use` runs. */
async function whileForwarding<T>(
  name: string,
  flags: readonly string[],
  use: () => Promise<T>,
): Promise<{ result: T; err: string }> {
  const client = dev.start('ssh', [...flags, '-tt', ways.jump(name), 'echo up; sleep 60'])
  let err = ''
  client.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  client.stdout.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const ended = ranToEnd(client)
  await eventually(
    () => err,
    (text) => text.includes('up'),
  )
  const result = await use()
  client.kill()
  await ended
  return { result, err }
}

/** What comes back over a new connection to a port here until it closes, or until `enough` of it is there. */
function exchange(port: number, said: string, enough = Infinity): Promise<string> {
  return new Promise((resolve) => {
    let got = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(said))
    socket.on('data', (chunk) => {
      got += chunk.toString()
      if (got.length >= enough) socket.destroy()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(got))
  })
}

const channelTo = async (port: number, from: number) => {
  const found = await stack.activities(dev, (all) =>
    all.slice(from).some(({ kind, text, outcome }) => {
      return kind === 'channel' && text.includes(String(port)) && outcome !== null
    }),
  )
  return found.slice(from).find(({ kind, text }) => kind === 'channel' && text.includes(`${port}`))!
}
const countOf = async () => (await stack.activities(dev, () => true)).length

const ask = 'GET / HTTP/1.0\r\n\r\n'

describe('what nobody declared', () => {
  test.each([
    ['-L', () => stack.sshdPort],
    ['-L', () => ports.page],
  ] as const)('%s is refused, also to another sshd, and written down', async (_flag, to) => {
    const [local, before] = [await freePort(), await countOf()]
    const { result } = await whileForwarding('web1', ['-L', `${local}:127.0.0.1:${to()}`], () =>
      exchange(local, ask),
    )
    expect(result).toBe('')
    expect((await channelTo(to(), before)).outcome!.status).not.toBe('ok')
  })

  test('-D and -R are refused', async () => {
    const local = await freePort()
    const { result } = await whileForwarding('web1', ['-D', String(local)], () =>
      // SOCKS 4: connect to 127.0.0.1, and its answer 91 is no.
      exchange(local, `\u0004\u0001${String.fromCharCode(ports.page >> 8)}`, 1),
    )
    expect(result).not.toContain('a page')
    const reverse = ['-o', 'ExitOnForwardFailure=yes', '-R', `${ports.remote}:127.0.0.1:1`]
    const ran = await dev.ssh([...reverse, ways.jump('web1'), 'echo on'])
    expect(ran.code).toBe(255)
    expect(ran.out.toString()).toBe('')
  })
})

describe('what the resource declares', () => {
  test('-L works, and is written down with its bytes', async () => {
    const [local, before] = [await freePort(), await countOf()]
    const { result } = await whileForwarding(
      'web2',
      ['-L', `${local}:127.0.0.1:${ports.page}`],
      () => exchange(local, ask),
    )
    expect(result).toContain('a page behind')
    const { outcome } = await channelTo(ports.page, before)
    expect(outcome).toMatchObject({ status: 'ok', bytesUp: ask.length, bytesDown: result.length })
  })

  test('-R works', async () => {
    const reverse = ['-R', `localhost:${ports.remote}:127.0.0.1:${ports.page}`]
    const { result } = await whileForwarding('web2', reverse, () => exchange(ports.remote, ask))
    expect(result).toContain('a page behind')
  })

  test.each([
    ['SSH', 'SSH-2.0-OpenSSH_9.2p1\r\n'],
    ['PostgreSQL', '\u0000\u0000\u0000\u0008\u0004\u00d2\u0016\u002f'],
    ['HTTP', ask],
  ])('what was declared as plain TCP carries no %s', async (_name, said) => {
    const [local, before] = [await freePort(), await countOf()]
    const { result } = await whileForwarding(
      'web2',
      ['-L', `${local}:127.0.0.1:${ports.echo}`],
      () => exchange(local, said),
    )
    expect(result).toBe('')
    expect((await channelTo(ports.echo, before)).outcome!.status).not.toBe('ok')
  })

  test('what was declared as plain TCP carries what nobody knows', async () => {
    const local = await freePort()
    const { result } = await whileForwarding(
      'web2',
      ['-L', `${local}:127.0.0.1:${ports.echo}`],
      () => exchange(local, 'some words\n', 11),
    )
    expect(result).toBe('some words\n')
  })
})

test('the agent goes along where the resource says so, without the key that signs in here', async () => {
  const script = [
    'eval "$(ssh-agent -s)" > /dev/null',
    `ssh-add -q ${dev.home}/id`,
    `ssh-keygen -q -t ed25519 -N "" -C other-key -f ${dev.home}/other`,
    `ssh-add -q ${dev.home}/other`,
    ...['web1', 'web2'].map(
      (name) =>
        `ssh -F ${dev.config} -o IdentityAgent=$SSH_AUTH_SOCK -A ${ways.jump(name)} 'ssh-add -L; echo end of ${name}'`,
    ),
    'ssh-agent -k > /dev/null',
  ]
  const ran = await dev.run('bash', ['-c', script.join('\n')])
  const [first = '', second = ''] = ran.out.toString().split('end of web1')
  expect(first).not.toContain('other-key')
  expect(second).toContain('other-key')
  expect(second).not.toContain(' dev')
  expect(second).toContain('end of web2')
})
