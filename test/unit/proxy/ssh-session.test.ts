import { generateKeyPairSync } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { SessionClosedMeta } from '../../../control/api/audit/format.ts'
import { resource as resourceShape, type Resource } from '../../../control/api/resource.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { encodeSshPublicKey, sshPublicKeyLine } from '../../../protocols/kit/ssh-public-key.ts'
import type { Cut } from '../../../protocols/session.ts'
import type { Policy, SecretRule } from '../../../proxy/policy/policy.ts'
import { bindSecret } from '../../../proxy/policy/bind-secret.ts'
import type { LiveSession } from '../../../proxy/sessions/live-session.ts'
import { createProxyWorld, FakeSocket, turns, type ProxyWorld } from '../../fakes/proxy-world.ts'

const keys = Array.from({ length: 4 }, () =>
  encodeSshPublicKey(generateKeyPairSync('ed25519').publicKey),
) as [Buffer, Buffer, Buffer, Buffer]
const [hostKey, otherKey, authority, bastionKey] = keys
const lines = keys.map((key) => sshPublicKeyLine(key))
const [hostLine, otherLine, authorityLine, bastionLine] = lines as [string, string, string, string]

const ssh = {
  hostKeys: [hostLine, otherLine],
  hostAuthorities: [authorityLine],
  agentForwarding: ['write'],
  tunnels: [
    { host: 'db.internal', port: 5432, carries: 'postgres', levels: ['read', 'write'] },
    { host: 'db.internal', port: 22, levels: ['write'] },
  ],
  commands: { read: { allow: ['uptime', 'ls *'], deny: ['ls /root*'] } },
}
const bastion = {
  host: 'bastion.internal',
  account: 'jump',
  secret: 'fake:bastion',
  hostKeys: [bastionLine],
}

const web1 = (changes: object = {}, sshChanges: object = {}): Resource =>
  resourceShape.parse({
    name: 'web1',
    protocol: 'ssh',
    address: { host: '127.0.0.1', port: 22 },
    levels: {
      read: { account: 'viewer', secret: 'certificate:web1' },
      write: { account: 'deploy', secret: 'fake:web1/deploy' },
    },
    ssh: { ...ssh, ...sshChanges },
    ...changes,
  })

const rule = (changes: Partial<SecretRule> = {}): SecretRule => ({
  reference: 'certificate:web1',
  matches: /^certificate:web1$/,
  addresses: [{ host: '127.0.0.1', port: 22 }],
  serverName: undefined,
  tls: 'verify-full',
  caPem: undefined,
  levels: ['read', 'write'],
  ...changes,
})
const ofBastion = { hostKeys: [bastionKey], hostAuthorities: [] }
const forBastion = rule({
  ssh: ofBastion,
  reference: 'fake:bastion',
  matches: /^fake:bastion$/,
  addresses: [{ host: 'bastion.internal', port: 22 }],
})
const policy: Policy = {
  secrets: [
    rule(),
    rule({
      ...{ reference: 'fake:web1/deploy', matches: /^fake:web1\/deploy$/ },
      ssh: { hostKeys: [hostKey], hostAuthorities: [] },
    }),
    forBastion,
  ],
}

let world: ProxyWorld

beforeEach(async () => {
  world = await createProxyWorld({ policy })
})
afterEach(() => world.close())

async function open(resource = web1(), level: 'read' | 'write' = 'read'): Promise<LiveSession> {
  await world.feed({ kind: 'resource', resource })
  const token = await world.confirmGrant({ resource: 'web1', level })
  await world.feed({ kind: 'grant', token })
  const session = await world.admit({ protocol: 'ssh', resource: 'web1' })
  session.opened(() => undefined)
  return session
}

const reasonOf = (session: LiveSession): string | undefined =>
  (session.signal.reason as Cut | undefined)?.reason

const closedMeta = (): SessionClosedMeta | undefined =>
  world.spool.events.findLast((event) => event.type === 'session-closed')?.meta as
    | SessionClosedMeta
    | undefined

describe('the policy and SSH', () => {
  const bound = (changes: Partial<SecretRule>, resource = web1()) =>
    bindSecret({ secrets: [rule(changes), forBastion] }, resource, 'read')

  it('takes the servers of the resource, and of them only those that a rule accepts', () => {
    expect(bound({}).upstream.ssh).toEqual({
      hostKeys: [hostKey, otherKey],
      hostAuthorities: [authority],
    })
    expect(
      bound({ ssh: { hostKeys: [otherKey, bastionKey], hostAuthorities: [] } }).upstream.ssh,
    ).toEqual({ hostKeys: [otherKey], hostAuthorities: [] })
  })

  it('sends no password or key to servers that control alone names, be it of a bastion', () => {
    const unnamed = rule({ reference: 'fake:web1/deploy', matches: /^fake:web1\/deploy$/ })
    const refuses = (secrets: SecretRule[], resource: Resource, level: 'read' | 'write') =>
      expect(() => bindSecret({ secrets }, resource, level)).toThrow(
        expect.objectContaining({
          code: 'secret-not-bound',
          message: expect.stringContaining('has to name hostKeys or hostAuthorities'),
        }),
      )
    refuses([unnamed], web1(), 'write')
    const { ssh: _named, ...unnamedBastion } = forBastion
    refuses([rule(), unnamedBastion], web1({}, { bastion }), 'read')
    bindSecret({ secrets: [rule(), forBastion] }, web1({}, { bastion }), 'read')
  })

  it.each([
    ['servers of its own', rule({ ssh: { hostKeys: [bastionKey], hostAuthorities: [] } }), web1()],
    ['another address', rule(), web1({ address: { host: '127.0.0.2', port: 22 } })],
    [
      'a network, where the name is resolved by a bastion',
      rule({ addresses: [{ host: { network: { check: () => true } as never }, port: 22 }] }),
      web1({ address: { host: 'web1.internal', port: 22 } }, { bastion }),
    ],
    ['an unbound bastion', rule(), web1({}, { bastion: { ...bastion, host: 'evil.internal' } })],
    ['another port of the bastion', rule(), web1({}, { bastion: { ...bastion, port: 2222 } })],
    ['another bastion secret', rule(), web1({}, { bastion: { ...bastion, secret: 'fake:root' } })],
    [
      'a key that is none',
      rule(),
      web1({}, { hostKeys: ['ssh-ed25519 AAAA'], hostAuthorities: [] }),
    ],
  ])('binds nothing to %s', (_what, given, resource) => {
    expect(() => bindSecret({ secrets: [given, forBastion] }, resource, 'read')).toThrow(
      expect.objectContaining({ code: 'secret-not-bound' }),
    )
  })
})

describe('an SSH session', () => {
  it('has the terms of its resource at its own level', async () => {
    const read = await open()
    expect(read.ssh).toEqual({
      agentForwarding: false,
      tunnels: [{ direction: 'local', host: 'db.internal', port: 5432, carries: 'postgres' }],
      allow: ['uptime', 'ls *'],
      deny: ['ls /root*'],
      recordInput: false,
      streamBytesMax: 1_048_576,
    })
    const write = await open(web1(), 'write')
    expect(write.ssh).toMatchObject({ agentForwarding: true, deny: [] })
    expect(write.ssh?.tunnels).toHaveLength(2)
    expect(write.ssh).not.toHaveProperty('allow')
  })

  it('certifies a key of its own where its secret is a certificate, and borrows where it is not', async () => {
    const certificate = Buffer.from('certificate')
    const asked: unknown[] = []
    world.control.certify = (question) => {
      asked.push(question)
      return Promise.resolve(certificate)
    }
    const read = await open()
    expect(await read.certify(otherKey)).toEqual({ account: 'viewer', certificate })
    const { sessionId, grantId } = read.labels
    expect(asked).toEqual([{ sessionId, grantId, publicKey: otherKey, of: 'resource' }])
    await expect(read.borrow()).rejects.toMatchObject({ code: 'secret-unavailable' })
    await expect(read.borrow('bastion')).rejects.toMatchObject({ code: 'secret-not-bound' })
    const write = await open(web1(), 'write')
    expect(await write.certify(otherKey)).toBeUndefined()
    expect((await write.borrow()).secret.reveal()).toBe('secret of web1/deploy')
    expect(asked).toHaveLength(1)
  })

  it('gives no certificate that came after the cut, nor hides why there is none', async () => {
    const answer = Promise.withResolvers<Buffer>()
    world.control.certify = () => answer.promise
    const session = await open()
    const certified = session.certify(otherKey)
    world.registry.cut([session], { reason: 'cut-by-admin', orderedAtMs: 1, detail: '' })
    answer.resolve(Buffer.from('late'))
    await expect(certified).rejects.toMatchObject({ code: 'access-denied' })
    await expect(session.certify(otherKey)).rejects.toMatchObject({ code: 'access-denied' })
    world.control.certify = () => Promise.reject(new Error('no such grant'))
    await expect((await open()).certify(otherKey)).rejects.toMatchObject({
      code: 'secret-unavailable',
      message: expect.stringContaining('no such grant') as string,
    })
  })

  it('dials the bastion, with its own secret', async () => {
    const session = await open(web1({}, { bastion }))
    expect(world.targets).toEqual([{ host: 'bastion.internal', port: 22, resource: 'web1' }])
    expect(session.upstream).toMatchObject({
      host: '127.0.0.1',
      port: 22,
      ssh: { bastion: { host: 'bastion.internal', port: 22, hostKeys: [bastionKey] } },
    })
    await session.connect()
    const { account, secret } = await session.borrow('bastion')
    expect([account, secret.reveal()]).toEqual(['jump', 'secret of bastion'])
    expect(await session.certify(otherKey, 'bastion')).toBeUndefined()
  })

  it('ends when its resource takes something away, and only then', async () => {
    const tunnels = [{ ...ssh.tunnels[0]!, port: 6543 }, ...ssh.tunnels]
    const harmless = [
      web1({ description: 'new words' }),
      web1({}, { hostKeys: [...ssh.hostKeys, bastionLine] }),
      web1({}, { tunnels }),
      web1({}, { agentForwarding: ['read', 'write'] }),
      web1({}, { commands: {} }),
      web1(
        {},
        { commands: { read: { allow: ['uptime', 'ls *', 'df'] }, write: { deny: ['rm *'] } } },
      ),
    ]
    for (const after of harmless) {
      const session = await open()
      await world.feed({ kind: 'resource', resource: after })
      expect(reasonOf(session), JSON.stringify(after.ssh)).toBeUndefined()
      await session[Symbol.asyncDispose]()
    }
    const ending = [
      web1({ address: { host: '127.0.0.2', port: 22 } }),
      web1({}, { hostKeys: [hostLine] }),
      web1({}, { hostAuthorities: [] }),
      web1({}, { bastion }),
      web1({}, { tunnels: ssh.tunnels.slice(1) }),
      web1({}, { tunnels: [{ ...ssh.tunnels[0]!, carries: 'tcp' }] }),
      web1({}, { commands: { read: { ...ssh.commands.read, allow: ['uptime'] } } }),
      web1({}, { commands: { read: { ...ssh.commands.read, deny: ['ls /root*', 'ls /etc*'] } } }),
      web1({}, { recording: { input: true } }),
    ]
    for (const after of ending) {
      const session = await open()
      await world.feed({ kind: 'resource', resource: after })
      await turns()
      expect(reasonOf(session), JSON.stringify(after.ssh)).toBe('resource-removed')
      await session[Symbol.asyncDispose]()
    }
    const forwarding = await open(web1(), 'write')
    await world.feed({ kind: 'resource', resource: web1({}, { agentForwarding: [] }) })
    await turns()
    expect(reasonOf(forwarding)).toBe('resource-removed')
  })

  it('is cut when its engine finds something else in it, in words of its own', async () => {
    const [session, other] = [await open(), await open()]
    session.violated(
      new SallyportError('protocol-violation', `a tunnel carries SSH${'!'.repeat(2_000)}`, {
        clientMessage: 'the tunnel carries SSH',
        hint: 'connect to that host by its own name',
      }),
    )
    expect(session.forwardCall(() => expect.fail('a call went upstream after the cut'))).toBe(false)
    await turns()
    const told = { message: 'the tunnel carries SSH', hint: 'connect to that host by its own name' }
    expect(session.signal.reason).toMatchObject({ reason: 'protocol-violation', ...told })
    expect(other.signal.aborted).toBe(false)
    await session[Symbol.asyncDispose]()
    expect(closedMeta()).toMatchObject({
      ...{ reason: 'protocol-violation', cut: { reason: 'protocol-violation' } },
    })
  })

  it('ends when a call of its engine throws, alone', async () => {
    const [session, other] = [await open(), await open()]
    expect(
      session.forwardCall(() => {
        throw new Error('no such channel')
      }),
    ).toBe(false)
    await turns()
    world.clock.advance(100)
    await turns()
    expect(closedMeta()).toMatchObject({ reason: 'upstream-failed', error: 'no such channel' })
    expect(session.forward(new FakeSocket(), Buffer.from('after'))).toBe(false)
    expect([...world.registry.all()]).toEqual([other])
  })
})

describe('streams to the client', () => {
  it('are several at once, end by themselves, and are destroyed with the session', async () => {
    const session = await open()
    const [done, gone, live] = [new FakeSocket(), new FakeSocket(), new FakeSocket()]
    const detach = session.attach(done)
    session.attach(gone)
    session.attach(live)
    detach()
    gone.destroy()
    await turns()
    world.registry.cut([session], { reason: 'cut-by-admin', orderedAtMs: 1, detail: '' })
    await turns()
    world.clock.advance(100)
    await turns()
    expect([done.destroyed, live.destroyed]).toEqual([false, true])
    const late = new FakeSocket()
    session.attach(late)
    expect(late.destroyed).toBe(true)
  })

  it('prove the last byte of a cut, also where one of them takes its time', async () => {
    const session = await open()
    const [quick, slow] = [new FakeSocket(), new FakeSocket()]
    session.attach(quick)
    session.attach(slow)
    slow.isStuck = true
    slow.write('screen')
    session.countDownstream(6)
    const orderedAtMs = world.clock.wallMs()
    world.registry.cut([session], { reason: 'cut-by-admin', orderedAtMs, detail: '' })
    await turns()
    world.clock.advance(100)
    await turns()
    expect(closedMeta()?.cut).toMatchObject({
      lastByteAtMs: orderedAtMs + 100,
      closedAtMs: orderedAtMs + 100,
    })
  })

  it('what a connection to the resource still holds is not sent after a cut', async () => {
    const session = await open()
    const upstream = (await session.connect()) as unknown as FakeSocket
    upstream.isStuck = true
    upstream.write('first')
    upstream.write('below the channel that it was forwarded to')
    world.registry.cut([session], { reason: 'cut-by-admin', orderedAtMs: 1, detail: '' })
    expect(upstream.destroyed).toBe(true)
    expect(upstream.written.map(String)).toEqual(['first'])
    const idle = await open()
    const other = await idle.connect()
    world.registry.cut([idle], { reason: 'cut-by-admin', orderedAtMs: 1, detail: '' })
    expect(other.destroyed).toBe(false)
  })
})
