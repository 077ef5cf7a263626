/** Port forwarding and the agent: refused unless the resource says so, and looked into where it does. */
import { execFileSync, spawn } from 'node:child_process'
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../../deploy/ports.ts'
import type { Tunnel } from '../../protocols/session.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { makeKey, publicKeyBlob, startSshd, type SshdSite } from '../fakes/sshd-site.ts'
import { startSshSite, type SshSite } from '../fakes/ssh-site.ts'

let sshd: SshdSite
/** Nothing is declared; and everything that is used here. */
let closed: SshSite
let open: SshSite
let echo: Server
let echoPort = 0
let remotePort = 0
beforeAll(async () => {
  sshd = await startSshd()
  closed = await startSshSite(sshd)
  echo = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  echoPort = await listening(echo)
  remotePort = await freePort()
  const local = { direction: 'local' as const, host: '127.0.0.1' }
  const tunnels: Tunnel[] = [
    { ...local, port: echoPort, carries: 'tcp' },
    { ...local, port: sshd.port, carries: 'tcp' },
    { direction: 'remote', host: 'localhost', port: remotePort, carries: 'tcp' },
  ]
  open = await startSshSite(sshd, { terms: { tunnels, agentForwarding: true } })
})
afterAll(async () => {
  for (const site of [closed, open]) {
    await eventually(() => site.server.serving === 0)
    expect(site.server.crashes).toEqual([])
    for (const record of site.gate.records) expect(record.outcomes).toHaveLength(1)
    await site.close()
  }
  echo.close()
  await sshd.stop()
})

describe('what is not declared', () => {
  test('-L is refused with a reason, and written down', async () => {
    const client = closed.start('ssh', [
      '-o',
      'LogLevel=INFO',
      '-W',
      `127.0.0.1:${echoPort}`,
      closed.direct,
    ])
    let err = ''
    client.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    await new Promise((resolve) => client.once('close', resolve))
    expect(err).toContain(`declares no tunnel to 127.0.0.1:${echoPort}`)
    expect(err).toContain('sally resources')
    expect(closed.gate.records.at(-1)).toMatchObject({
      ...{ kind: 'channel', target: `127.0.0.1:${echoPort}`, outcomes: [{ status: 'skipped' }] },
    })
  })

  test('-R is refused', async () => {
    const strict = ['-o', 'ExitOnForwardFailure=yes', '-N', '-R', `${remotePort}:127.0.0.1:1`]
    const ran = await closed.ssh([...strict, closed.direct])
    expect(ran.code).toBe(255)
    expect(ran.err).toContain('remote port forwarding failed')
  })

  test('sockets of files are refused', async () => {
    const strict = ['-o', 'ExitOnForwardFailure=yes', '-N', '-R', '/tmp/never.sock:127.0.0.1:1']
    expect((await closed.ssh([...strict, closed.jumped])).code).toBe(255)
  })

  test('the agent is not forwarded', async () => {
    await using agent = startAgent(closed.folder)
    const ran = await withAgent(closed, agent.socket, [
      '-A',
      closed.direct,
      'echo "[$SSH_AUTH_SOCK]"',
    ])
    expect(ran).toContain('[]')
  })
})

describe('what is declared', () => {
  test.each(['direct', 'jumped'] as const)('-L works, half-closed too: %s', async (way) => {
    const client = open.start('ssh', ['-W', `127.0.0.1:${echoPort}`, open[way]])
    const out: Buffer[] = []
    client.stdout.on('data', (chunk: Buffer) => out.push(chunk))
    const content = Buffer.alloc(3_000_000, 7)
    client.stdin.end(content)
    await new Promise((resolve) => client.once('close', resolve))
    expect(Buffer.concat(out).equals(content)).toBe(true)
    await open.gate.sessions.at(-1)!.closed
    expect(open.gate.records.at(-1)).toMatchObject({
      ...{ kind: 'channel', operation: 'tunnel-local', target: `127.0.0.1:${echoPort}` },
      outcomes: [{ status: 'ok', bytesUp: content.length, bytesDown: content.length }],
    })
  })

  test('-R works', async () => {
    const forward = [
      '-o',
      'ExitOnForwardFailure=yes',
      '-N',
      '-R',
      `${remotePort}:127.0.0.1:${echoPort}`,
    ]
    const client = open.start('ssh', [...forward, open.direct])
    const answer = await eventuallyAnswers(remotePort, 'there and back')
    expect(answer).toBe('there and back')
    client.kill()
    await open.gate.sessions.at(-1)!.closed
    expect(open.gate.records.at(-1)).toMatchObject({ operation: 'tunnel-remote' })
  })

  test('SSH in a tunnel that is declared as plain TCP is cut', async () => {
    const client = open.start('ssh', [
      '-o',
      'LogLevel=INFO',
      '-W',
      `127.0.0.1:${sshd.port}`,
      open.direct,
    ])
    let err = ''
    let out = ''
    client.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    client.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    client.stdin.write('SSH-2.0-mine\r\n')
    await new Promise((resolve) => client.once('close', resolve))
    expect(err).toContain('is declared for tcp, and carries SSH')
    expect(out).not.toContain('SSH-2.0-OpenSSH')
    const session = open.gate.sessions.at(-1)!
    await session.closed
    expect(session.signal.reason).toMatchObject({ reason: 'protocol-violation' })
  })

  test('the agent lists and uses other keys, and not the one that signs in here', async () => {
    makeKey(open.folder, 'other')
    const own = publicKeyBlob(join(open.folder, 'id.pub'))
    open.gate.recognises = (key) => Promise.resolve(key.equals(own))
    await using agent = startAgent(open.folder)
    for (const name of ['id', 'other']) {
      execFileSync('ssh-add', ['-q', join(open.folder, name)], {
        env: { SSH_AUTH_SOCK: agent.socket },
      })
    }
    const listed = await withAgent(open, agent.socket, ['-A', open.direct, 'ssh-add -L'])
    expect(listed).toContain(publicKeyBlob(join(open.folder, 'other.pub')).toString('base64'))
    expect(listed).not.toContain(own.toString('base64'))
    const asked = (name: string): string[] => {
      const file = join(open.folder, `${name}.pub`)
      return [
        '-A',
        open.direct,
        `echo hello > ${file}.text; ssh-keygen -q -Y sign -n test -f ${file} ${file}.text; echo done $?; rm -f ${file}.text*`,
      ]
    }
    expect(await withAgent(open, agent.socket, asked('other'))).toContain('done 0')
    // Only the public half is at hand to the program: without the agent it can sign nothing.
    execFileSync('mv', [join(open.folder, 'id'), join(open.folder, 'moved')])
    const args = ['-i', join(open.folder, 'moved'), ...asked('id')]
    expect(await withAgent(open, agent.socket, args)).toContain('done 255')
  })
})

function startAgent(folder: string): AsyncDisposable & { socket: string } {
  const socket = join(folder, `agent-${Math.random()}`)
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' })
  execFileSync('sh', ['-c', `until [ -S ${socket} ]; do sleep 0.05; done`])
  return {
    socket,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        agent.once('exit', () => resolve())
        agent.kill()
      }),
  }
}

function withAgent(site: SshSite, socket: string, args: string[]): Promise<string> {
  const client = spawn('ssh', [...site.options, '-o', `IdentityAgent=${socket}`, ...args], {
    env: { PATH: process.env['PATH'], HOME: site.folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  client.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  client.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
  return new Promise((resolve) => client.once('close', () => resolve(text)))
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
  )
}

async function eventuallyAnswers(port: number, question: string): Promise<string> {
  let answer = ''
  await eventually(async () => {
    answer = await new Promise<string>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.end(question))
      let text = ''
      socket.on('error', () => resolve(''))
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
      socket.on('close', () => resolve(text))
    })
    return answer !== ''
  })
  return answer
}
