/** What no real client and no real server would send, and what a real one can be made to: before a fake gate. */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { HostKey } from '../../protocols/engine.ts'
import { encodeSshPublicKey } from '../../protocols/kit/ssh-public-key.ts'
import { sshString, sshU32 } from '../../protocols/kit/ssh-wire.ts'
import { messages, openFailures } from '../../protocols/ssh/wire.ts'
import { Protocol } from '../../protocols/ssh/wire/library.ts'
import { eventually } from '../fakes/postgres-site.ts'
import {
  connectPeer,
  logInPeer,
  openChannel,
  request,
  startPeerServer,
  type PeerServer,
  type SshPeer,
} from '../fakes/ssh-peer.ts'
import { startSshSite, type SshSite } from '../fakes/ssh-site.ts'
import { startSshd, type SshdSite } from '../fakes/sshd-site.ts'

let sshd: SshdSite
let site: SshSite
/** A resource that does as it is told. */
let crooked: PeerServer
let crookedSite: SshSite
let atResource: ((peer: SshPeer) => void) | undefined
const peers: SshPeer[] = []

beforeAll(async () => {
  sshd = await startSshd()
  const kube = { direction: 'local', host: 'kube', port: 1, carries: 'tcp' } as const
  site = await startSshSite(sshd, { terms: { tunnels: [kube], deny: ['subsystem netconf'] } })
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const hostKey: HostKey = {
    publicKey: encodeSshPublicKey(publicKey),
    algorithm: 'ssh-ed25519',
    sign: (data) => sign(null, data, privateKey),
  }
  crooked = await startPeerServer(hostKey, (peer) => atResource?.(peer))
  crookedSite = await startSshSite(sshd, {
    terms: { agentForwarding: true },
    gate: {
      upstream: {
        ...{ host: '127.0.0.1', port: crooked.port, serverName: '127.0.0.1', tls: 'disable' },
        ssh: { hostKeys: [hostKey.publicKey], hostAuthorities: [] },
      },
    },
  })
})
afterAll(async () => {
  for (const peer of peers) peer.socket.destroy()
  crooked.close()
  for (const each of [site, crookedSite]) {
    await eventually(() => each.server.serving === 0)
    expect(each.server.crashes).toEqual([])
    await each.close()
  }
  await sshd.stop()
})

const session = (of = site) => of.gate.sessions.at(-1)!
const recorded = (of = site): string =>
  session(of)
    .recordings.flatMap(({ parts }) => parts.map((part) => ('from' in part ? part : undefined)))
    .map((part) => (part === undefined ? '' : `${part.from}: ${part.bytes.toString()}`))
    .join('\n')
async function logIn(at: SshSite): Promise<SshPeer> {
  const peer = await logInPeer(at.server.port, 'sallyport~web1')
  peers.push(peer)
  await eventually(() => session(at).isOpen)
  return peer
}
const terminal = Buffer.concat([sshString('vt100'), ...[80, 24, 0, 0].map(sshU32), sshString('')])

describe('nothing passes unrecorded', () => {
  test('by a program that is only called scp', async () => {
    const program = join(site.folder, 'scp')
    writeFileSync(program, '#!/bin/sh\necho noise\nread line\necho ran $line\n')
    chmodSync(program, 0o755)
    const client = site.start('ssh', [site.direct, `${program} -f x`])
    let out = ''
    client.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    await eventually(() => out.includes('noise'))
    client.stdin.end('something\n')
    await eventually(() => out.includes('ran something'))
    await session().closed
    expect(recorded()).toContain('upstream: noise')
    expect(recorded()).toContain('client: something')
    expect(recorded()).toContain('upstream: ran something')
  })

  test('on the standard error of a copy, or in its complaints', async () => {
    const program = join(site.folder, 'scp')
    writeFileSync(program, '#!/bin/sh\nprintf "\\0"\nread line\necho ran $line >&2\n')
    chmodSync(program, 0o755)
    const ran = await site.ssh([site.direct, `${program} -t x`], '\u0001something\n')
    expect(ran.err).toContain('ran')
    await session().closed
    expect(recorded()).toContain('upstream-error: ran')
    expect(session().records.map(({ text }) => text)).toContain('other something')
  })

  test('by SFTP at a terminal', async () => {
    const peer = await logIn(site)
    const channel = await openChannel(peer)
    request(peer, channel, 'pty-req', terminal)
    request(peer, channel, 'subsystem', sshString('sftp'))
    const remove = Buffer.concat([Buffer.of(13), sshU32(1), sshString('/srv/x')])
    peer.send(messages.channelData, sshU32(channel), sshString(sshString(remove)))
    await eventually(() => session().records.some(({ text }) => text === 'remove /srv/x'))
    peer.socket.destroy()
  })

  test('by a command as long as a packet', async () => {
    const filler = 'x'.repeat(33_500)
    const ran = await site.ssh([site.direct, `echo ok # ${filler}`])
    expect(ran.out.toString()).toBe('ok\n')
    const { textBlob } = session().records[0]!
    expect(session().blobs.get(textBlob!.sha256)!.toString()).toBe(`echo ok # ${filler}`)
  })
})

describe('rules hold', () => {
  test('for what would run other commands in the place of the allowed ones', async () => {
    await using ruled = await startSshSite(sshd, { terms: { allow: ['echo *'] } })
    const script = join(ruled.folder, 'env.sh')
    writeFileSync(script, 'echo owned\n')
    const set = ['-o', `SetEnv=BASH_ENV=${script}`]
    const ran = await ruled.ssh([...set, ruled.direct, 'echo fine'])
    expect(ran.out.toString()).toBe('fine\n')
    const [env] = session(ruled).records
    expect(env).toMatchObject({ operation: 'env', text: `BASH_ENV=${script}` })
    expect(env!.outcomes[0]).toMatchObject({ status: 'skipped', errorCode: 'not-allowed' })
  })

  test('for a subsystem that is denied', async () => {
    const ran = await site.ssh(['-s', site.direct, 'netconf'])
    expect(ran).toMatchObject({ code: 126 })
    expect(ran.err).toContain('the subsystem netconf is denied')
  })

  test('for a host that only lower case makes the declared one', async () => {
    const peer = await logIn(site)
    const more = [sshString('\u212aube'), sshU32(1), sshString('127.0.0.1'), sshU32(1)]
    const fields = [sshString('direct-tcpip'), ...[7, 1000, 1000].map(sshU32), ...more]
    peer.send(messages.channelOpen, ...fields)
    const refusal = await peer.take(messages.channelOpenFailure)
    expect(refusal.readUInt32BE(5)).toBe(openFailures.administrativelyProhibited)
    expect(session().records[0]).toMatchObject({ target: '\u212aube:1' })
    peer.socket.destroy()
  })
})

describe('memory is bounded', () => {
  test('where a client begins a key exchange and does not go on with it', async () => {
    const peer = await logIn(site)
    const channel = await openChannel(peer, { window: 0xffff_ffff })
    request(peer, channel, 'exec', sshString('cat /dev/zero'), true)
    await peer.take(messages.channelSuccess)
    peer.socket.pause()
    const names = ['curve25519-sha256', 'ssh-ed25519', ...twice('aes128-gcm@openssh.com')]
    const more = [...twice('hmac-sha2-256-etm@openssh.com'), ...twice('none'), ...twice('')]
    const lists = [...names, ...more].map(sshString)
    peer.send(20, randomBytes(16), ...lists, Buffer.of(0), sshU32(0))
    const stalled = session()
    await quietTime()
    const bytes = stalled.downstreamBytes
    await quietTime()
    expect(stalled.downstreamBytes).toBe(bytes)
    peer.socket.destroy()
  })

  test('where a resource reads nothing, and requests go on', async () => {
    atResource = (peer) =>
      void confirm(peer).then(
        () => peer.socket.pause(),
        () => {},
      )
    const peer = await logIn(crookedSite)
    const channel = await openChannel(peer)
    const payload = sshString(Buffer.alloc(30_000, 65))
    const [bytes, total] = [30_000, 64 * 1024 * 1024]
    for (let sent = 0; sent < total; sent += bytes) request(peer, channel, 'signal', payload)
    await quietTime()
    expect(peer.socket.writableLength).toBeGreaterThan(total / 3)
    peer.socket.destroy()
  })

  test('where a resource opens no channel, and the client goes on', async () => {
    atResource = undefined
    const peer = await logIn(crookedSite)
    const channel = await openChannel(peer)
    const payload = Buffer.concat([sshString('NAME'), sshString(Buffer.alloc(30_000, 65))])
    for (let sent = 0; sent < 8 * 1024 * 1024; sent += 30_000)
      request(peer, channel, 'env', payload)
    await eventually(() => peer.isClosed)
  })

  test('where a resource asks the agent, and reads no answers', async () => {
    atResource = (peer) => void confirm(peer).catch(() => {})
    crookedSite.gate.recognises = () => Promise.resolve(false)
    const peer = await logIn(crookedSite)
    const channel = await openChannel(peer)
    request(peer, channel, 'auth-agent-req@openssh.com')
    const there = crooked.peers.at(-1)!
    await there.take(messages.channelRequest)
    const fields = [sshString('auth-agent@openssh.com'), ...[9, 0, 32_768].map(sshU32)]
    there.send(messages.channelOpen, ...fields)
    const opened = await peer.take(messages.channelOpen)
    const number = opened.readUInt32BE(1 + 4 + 'auth-agent@openssh.com'.length)
    peer.send(messages.channelOpenConfirmation, ...[number, 5, 2 ** 31, 32_768].map(sshU32))
    const agent = (await there.take(messages.channelOpenConfirmation)).readUInt32BE(5)
    const key = Buffer.concat([sshString(randomBytes(20_000)), sshString('')])
    const answer = sshString(Buffer.concat([Buffer.of(12), sshU32(1), key]))
    const has = (at: SshPeer, type: number) => at.received.some((each) => each.type === type)
    const isOver = (): boolean => has(there, messages.channelClose)
    while (!isOver()) {
      there.send(messages.channelData, sshU32(agent), sshString(sshString(Buffer.of(11))))
      await eventually(() => isOver() || has(peer, messages.channelData))
      peer.received.length = 0
      peer.send(messages.channelData, sshU32(number), sshString(answer))
    }
    await eventually(() => session(crookedSite).records[0]?.outcomes.length === 1)
    expect(session(crookedSite).records[0]!.outcomes[0]).toMatchObject({ status: 'error' })
    peer.socket.destroy()
  })
})

test('keys are not exchanged again before the login', async () => {
  const parse = vi.spyOn(Protocol.prototype, 'parse')
  const peer = await connectPeer(site.server.port)
  const mine = parse.mock.contexts.find((each) => Reflect.get(each, '_server') === false)!
  parse.mockRestore()
  mine.rekey()
  await eventually(() => peer.isClosed)
})

test('packets are long only after the login, and only where they ask something of a channel', async () => {
  const long = Buffer.alloc(100_000, 'x')
  const stranger = await connectPeer(site.server.port)
  peers.push(stranger)
  stranger.send(messages.serviceRequest, sshString(long))
  await eventually(() => stranger.isClosed)
  const talker = await logIn(site)
  talker.send(messages.globalRequest, sshString('x'), Buffer.of(0), long)
  await eventually(() => talker.isClosed)
  const peer = await logIn(site)
  const channel = await openChannel(peer)
  // The server would end the connection over it.
  const setting = Buffer.concat([sshString('LC_ALL'), sshString(Buffer.alloc(300_000))])
  request(peer, channel, 'env', setting, true)
  await peer.take(messages.channelFailure)
  request(peer, channel, 'exec', sshString(Buffer.concat([Buffer.from('echo '), long])), true)
  await peer.take(messages.channelSuccess)
  await peer.take(messages.channelData)
})

test('whatever a resource says, the proxy lives', async () => {
  const types = [80, 81, 82, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100]
  for (let seed = 1; seed <= 40; seed++) {
    let state = seed * 2_654_435_761
    const pick = <T>(of: readonly T[]): T => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return of[(state >>> 8) % of.length]!
    }
    const words = ['session', 'forwarded-tcpip', 'auth-agent@openssh.com', 'exit-status', 'x', '']
    const field = (): Buffer =>
      pick([
        () => sshString(pick(words)),
        () => sshU32(pick([0, 1, 2, 5, 32_768, 0xffff_ffff])),
        () => Buffer.of(pick([0, 1, 255])),
      ])()
    atResource = (there) => {
      void confirm(there).catch(() => {})
      for (let sent = 0; sent < 20; sent++) {
        there.send(pick(types), ...Array.from({ length: pick([1, 2, 3, 5]) }, field))
      }
    }
    const peer = await logInPeer(crookedSite.server.port, 'sallyport~web1')
    peers.push(peer)
    const fields = [sshString('session'), ...[0, 2 ** 21, 32_768].map(sshU32)]
    peer.send(messages.channelOpen, ...fields)
    request(peer, 0, 'auth-agent-req@openssh.com')
    request(peer, 0, 'exec', sshString('true'))
    if (seed % 3 === 0) peer.socket.destroy()
    else if (seed % 3 === 1) session(crookedSite).cut()
    await eventually(() => {
      const { isOpen, ended } = session(crookedSite)
      return peer.isClosed || isOpen || ended !== undefined
    })
    peer.socket.destroy()
  }
})

const twice = (name: string): string[] => [name, name]

/** The resource lets a channel be opened. */
async function confirm(peer: SshPeer): Promise<void> {
  const open = await peer.take(messages.channelOpen)
  const id = open.readUInt32BE(1 + 4 + 'session'.length)
  peer.send(messages.channelOpenConfirmation, ...[id, 3, 2 ** 31, 32_768].map(sshU32))
}

/** As long as a few real logins take: what could go on would have. */
async function quietTime(): Promise<void> {
  for (let n = 0; n < 2; n++) await site.ssh([site.direct, 'true'])
}
