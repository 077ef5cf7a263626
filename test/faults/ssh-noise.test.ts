/** Hostile bytes before and after authentication: a connection may end by them, the process and the others may not. */
import { randomBytes, randomInt } from 'node:crypto'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sshString, sshU32 } from '../../protocols/kit/ssh-wire.ts'
import { message, messages, sshBoolean } from '../../protocols/ssh/wire.ts'
import { libraryReady } from '../../protocols/ssh/wire/library.ts'
import { Transport } from '../../protocols/ssh/wire/transport.ts'
import { fakeIdentity } from '../fakes/gate.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { startSshd, type SshdSite } from '../fakes/sshd-site.ts'
import { startSshSite, type SshSite } from '../fakes/ssh-site.ts'

const rounds = process.env['SALLYPORT_LONG'] === '1' ? 2_000 : 40
let sshd: SshdSite
let site: SshSite
beforeAll(async () => {
  await libraryReady
  sshd = await startSshd()
  site = await startSshSite(sshd, {
    limits: { handshakeMs: 2_000 },
    gate: { signIn: () => Promise.resolve(fakeIdentity()) },
  })
})
afterAll(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  for (const session of site.gate.sessions) {
    await session.closed
    for (const record of session.records) expect(record.outcomes).toHaveLength(1)
  }
  await site.close()
  await sshd.stop()
})

/** Changes, drops, doubles or fills a few bytes. */
function mutate(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes)
  for (let n = randomInt(1, 4); n > 0 && changed.length > 1; n--) {
    const at = randomInt(1, changed.length)
    switch (randomInt(4)) {
      case 0:
        changed[at] = randomInt(256)
        break
      case 1:
        changed.fill(0xff, at, Math.min(at + 4, changed.length))
        break
      case 2:
        return changed.subarray(0, at)
      default:
        return Buffer.concat([changed, randomBytes(randomInt(64))])
    }
  }
  return changed
}

const requestOf = (channel: number, type: string, ...fields: Buffer[]): Buffer =>
  message(
    messages.channelRequest,
    ...[sshU32(channel), sshString(type), sshBoolean(randomInt(2) === 0), ...fields],
  )

/** What a client says, more or less. */
function sentences(): Buffer[] {
  const open = (type: string, ...more: Buffer[]): Buffer =>
    message(
      messages.channelOpen,
      ...[sshString(type), sshU32(0), sshU32(65_536), sshU32(32_768), ...more],
    )
  const numbers = [80, 24, 640, 480].map(sshU32)
  return [
    open('session'),
    open('direct-tcpip', sshString('127.0.0.1'), sshU32(22), sshString('x'), sshU32(1)),
    open('x11'),
    requestOf(0, 'pty-req', sshString('vt100'), ...numbers, sshString(Buffer.of(0))),
    requestOf(0, 'env', sshString('A'), sshString('b')),
    requestOf(0, 'exec', sshString('cat')),
    requestOf(0, 'shell'),
    requestOf(0, 'subsystem', sshString('sftp')),
    requestOf(0, 'window-change', ...numbers),
    requestOf(0, 'signal', sshString('TERM')),
    message(messages.channelData, sshU32(0), sshString(randomBytes(randomInt(200)))),
    message(messages.channelExtendedData, sshU32(0), sshU32(1), sshString('err')),
    message(messages.channelWindowAdjust, sshU32(0), sshU32(0xffff_ffff)),
    message(messages.channelEof, sshU32(0)),
    message(messages.channelClose, sshU32(0)),
    message(messages.channelSuccess, sshU32(0)),
    message(
      messages.globalRequest,
      sshString('tcpip-forward'),
      sshBoolean(true),
      sshString(''),
      sshU32(0),
    ),
    message(messages.requestFailure),
    message(messages.channelOpenConfirmation, ...[0, 0, 100, 100].map(sshU32)),
    Buffer.concat([Buffer.of(randomInt(80, 128)), randomBytes(randomInt(80))]),
  ]
}

function attack(user: string, authenticates: boolean): Promise<void> {
  const socket = connect(site.server.port, '127.0.0.1')
  return new Promise((resolve) => {
    let isIn = false
    const speak = (): void => {
      const all = sentences()
      for (let n = 0; n < 12; n++) {
        const sentence = n === 0 ? all[0]! : all[randomInt(all.length)]!
        transport.send(randomInt(3) === 0 ? mutate(sentence) : sentence)
      }
      setTimeout(() => socket.end(), 30)
    }
    const ask = (...fields: Buffer[]): Buffer =>
      message(
        messages.userauthRequest,
        ...[sshString(user), sshString('ssh-connection'), ...fields],
      )
    const transport = new Transport(
      socket,
      { side: 'client', hostKeyAlgorithms: ['ssh-ed25519'], verifyHost: (shown) => shown },
      {
        ready() {
          transport.send(message(messages.serviceRequest, sshString('ssh-userauth')))
          const interactive = ask(sshString('keyboard-interactive'), sshString(''), sshString(''))
          if (authenticates) transport.send(interactive)
          else {
            const key = ask(sshString('publickey'), sshBoolean(true), sshString('ssh-ed25519'))
            for (let n = 0; n < 4; n++)
              transport.send(mutate(randomInt(2) === 0 ? key : interactive))
            speak()
          }
        },
        message(type) {
          if (type !== messages.userauthSuccess || isIn) return
          isIn = true
          speak()
        },
        drained() {},
        closed: () => resolve(),
      },
    )
    transport.start()
  })
}

test('noise instead of a key exchange', async () => {
  const greeting = Buffer.from('SSH-2.0-noise\r\n')
  const all = Array.from({ length: rounds }, async () => {
    const socket = connect(site.server.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    const noise = randomBytes(randomInt(1, 2_000))
    socket.end(randomInt(3) === 0 ? noise : Buffer.concat([greeting, mutate(noise)]))
    await new Promise((resolve) => socket.once('close', resolve))
  })
  await Promise.all(all)
  expect((await site.ssh([site.direct, 'echo still here'])).out.toString()).toBe('still here\n')
})

test.each([
  ['before authentication', 'x~web1', false],
  ['in a session', 'x~web1', true],
  ['in a jump', 'x', true],
])('mutated messages %s', async (_name, user, authenticates) => {
  for (let round = 0; round < rounds; round += 4) {
    await Promise.all(Array.from({ length: 4 }, () => attack(user, authenticates)))
  }
  expect((await site.ssh([site.direct, 'echo still here'])).out.toString()).toBe('still here\n')
})
