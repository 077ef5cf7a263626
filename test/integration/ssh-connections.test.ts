/** What a connection goes through besides its work, in the whole product: signals, signs of life, and others beside it. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import ssh2 from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SessionView } from '../../control/api/shapes.ts'
import { homeFiles } from '../../control/cli/home.ts'
import { freePort } from '../../deploy/ports.ts'
import { sshString } from '../../protocols/kit/ssh-wire.ts'
import { messages } from '../../protocols/ssh/wire.ts'
import { eventually } from '../demo-site.ts'
import {
  authenticate,
  connectPeer,
  openChannel,
  request,
  shownTo,
  type SshPeer,
} from '../fakes/ssh-peer.ts'
import { publicKeyBlob } from '../fakes/sshd-site.ts'
import { ranToEnd } from '../ran-to-end.ts'
import { startSshStack, ways, type SshPerson, type SshStack } from '../ssh-stack.ts'

const keepaliveMs = 1_000
let stack: SshStack
let dev: SshPerson
beforeAll(async () => {
  stack = await startSshStack({ limits: { keepaliveMs } })
  dev = await stack.person('dev')
  await stack.grant(dev)
})
afterAll(() => stack?.stop())

/** A client that speaks as it is told, signed in as OpenSSH is. */
async function signedIn(person: SshPerson): Promise<SshPeer> {
  const { key, certificate } = homeFiles(person.home).ssh
  const parsed = ssh2.utils.parseKey(readFileSync(key))
  if (parsed instanceof Error) throw parsed
  const peer = await connectPeer(stack.sshPort)
  const shown = publicKeyBlob(certificate)
  const sign = (data: Buffer): Buffer => Buffer.from(parsed.sign(data))
  const algorithm = 'ssh-ed25519-cert-v01@openssh.com'
  expect(await authenticate(peer, '~web1', { shown, algorithm, sign })).toBe(true)
  return peer
}

const isClosed = ({ closedAtMs }: SessionView): boolean => closedAtMs !== null
const outcomeOf = async (person: SshPerson, words: string) => {
  const found = await stack.activities(person, (all) =>
    all.some(({ text, outcome }) => text.includes(words) && outcome !== null),
  )
  return found.find(({ text }) => text.includes(words))!.outcome!
}

// sshd passes signals on to those who are not root; run by anybody else, it has nobody to be.
describe.skipIf(process.getuid?.() !== 0)('a signal that the client sends', () => {
  test.each([
    ['is for the program to take', 'USR1', 'trap "echo got it; exit 3" USR1', 'exit 3'],
    ['ends what does not take it', 'TERM', 'trap - TERM', 'signal TERM'],
    ['ends what takes none', 'KILL', 'trap "" TERM', 'signal KILL'],
  ])('%s: %s', async (_how, signal, trap, tag) => {
    const peer = await signedIn(dev)
    const channel = await openChannel(peer)
    request(peer, channel, 'exec', sshString(`${trap}; echo up; while :; do sleep 0.1; done`))
    await eventually(
      () => shownTo(peer),
      (text) => text.includes('up'),
    )
    request(peer, channel, 'signal', sshString(signal))
    await peer.take(messages.channelClose)
    const ends = peer.received.filter(({ type }) => type === messages.channelRequest)
    const words = ends.map(({ payload }) => payload.toString('latin1')).join('')
    if (tag.startsWith('exit')) {
      expect(words).toContain('exit-status')
      expect(shownTo(peer)).toContain('got it')
    } else {
      expect(words).toContain('exit-signal')
      expect(words).toContain(signal)
    }
    expect(await outcomeOf(dev, trap)).toMatchObject({ status: 'error', tag })
    peer.socket.destroy()
  })
})

describe('signs of life', () => {
  test.concurrent('are given to a client that asks for them, and asked of one that is silent', async () => {
    const asks = ['-o', 'ServerAliveInterval=1', '-o', 'ServerAliveCountMax=2']
    // Past what would end either side: two questions of the client's, four of ours.
    const line = `sleep ${(keepaliveMs / 1_000) * 6}; echo alive`
    const ran = await Promise.all(
      Object.values(ways).map((to) => dev.ssh([...asks, to('web1'), line])),
    )
    for (const { code, out, err } of ran) {
      expect([code, out.toString(), err]).toEqual([0, 'alive\n', ''])
    }
  })

  test.concurrent('that do not come end the session: of the client', async () => {
    const person = await stack.person('silent')
    await stack.grant(person)
    const peer = await signedIn(person)
    const channel = await openChannel(peer)
    request(peer, channel, 'exec', sshString('echo here; exec sleep 1000'))
    const [session] = await stack.sessions(person, (all) => all.length === 1 && all.every(isClosed))
    expect(peer.isClosed).toBe(true)
    expect(session!.endReason).toBe('client-failed')
    expect(shownTo(peer)).toBe('here\n')
    expect((await outcomeOf(person, 'echo here')).status).toBe('cancelled')
  })

  test('that do not come end the session: of the resource', async () => {
    const person = await stack.person('frozen')
    await stack.grant(person)
    const before = new Set(stack.served())
    const client = person.start('ssh', [ways.direct('web1'), 'echo up; exec cat'])
    const ended = ranToEnd(client)
    await new Promise((resolve) => client.stdout.once('data', resolve))
    const [server] = stack.served().filter((pid) => !before.has(pid))
    const frozen = [server!, ...childrenOf(server!)]
    try {
      for (const pid of frozen) process.kill(pid, 'SIGSTOP')
      expect((await ended).code).toBe(255)
      const [session] = await stack.sessions(person, ([one]) => one !== undefined && isClosed(one))
      expect(session!.endReason).toBe('upstream-failed')
    } finally {
      for (const pid of frozen) process.kill(pid, 'SIGCONT')
    }
  })
})

test('an editor’s connections need one certificate and no sign-in', async () => {
  const person = await stack.person('editor')
  await stack.grant(person)
  const quiet = ['-o', 'BatchMode=yes', '-o', 'ConnectTimeout=15']
  // As VS Code does: a shell that is fed a script and stays, with a proxy for its ports; and others beside it.
  const dynamic = ['-T', '-D', String(await freePort())]
  const first = person.start('ssh', [...dynamic, ...quiet, ways.jump('web1'), 'sh'])
  const ended = ranToEnd(first)
  first.stdin.write('echo "running: $((6 * 7))"\n')
  await new Promise((resolve) => first.stdout.once('data', resolve))
  const beside = await Promise.all(
    Object.values(ways).map((to) =>
      person.ssh(['-T', ...quiet, to('web1'), 'sh'], 'echo beside\n'),
    ),
  )
  for (const ran of beside) expect(ran).toMatchObject({ code: 0, out: Buffer.from('beside\n') })
  first.stdin.end()
  expect((await ended).out.toString()).toBe('running: 42\n')
  const all = await stack.sessions(person, (found) => found.length === 3 && found.every(isClosed))
  expect(new Set(all.map(({ evidence }) => JSON.stringify(evidence))).size).toBe(1)
  expect(all[0]!.evidence).toMatchObject({ kind: 'certificate' })
})

function childrenOf(parent: number): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' }).split('\n')
  return lines.flatMap((line) => {
    const [pid, ppid] = line.trim().split(/\s+/).map(Number)
    return ppid === parent ? [pid!] : []
  })
}
