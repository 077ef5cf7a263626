/**
 * Certificates and proofs that must not pass, through the whole product: each is the person's own certificate but for one thing, and signed
 * by the authority that signs people's, save where that is the thing.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKeySigner } from '../../certs/key-signer.ts'
import { openSshAuthority, type SshAuthority } from '../../certs/ssh-authority.ts'
import { createHomeKeys } from '../../control/cli/home-keys.ts'
import { homeFiles } from '../../control/cli/home.ts'
import { openKeys, type ControlKeys } from '../../control/keys/open-keys.ts'
import { openSealingKey } from '../../control/keys/open-sealing-key.ts'
import { openStores } from '../../control/store/store.ts'
import { systemClock as clock } from '../../protocols/kit/clock.ts'
import { ByteReader } from '../../protocols/kit/byte-reader.ts'
import { sshPublicKeyLine } from '../../protocols/kit/ssh-public-key.ts'
import { readSshString, sshString, sshU32, sshU64 } from '../../protocols/kit/ssh-wire.ts'
import { eventually } from '../demo-site.ts'
import { authenticate, connectPeer, type PeerKey } from '../fakes/ssh-peer.ts'
import { publicKeyBlob } from '../fakes/sshd-site.ts'
import type { Ran } from '../ran-to-end.ts'
import { startSshStack, ways, type SshPerson, type SshStack } from '../ssh-stack.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'

let database: PostgresServer
let stack: SshStack
let dev: SshPerson
let keys: ControlKeys['sshAuthorities']
/** The certificate that control issued, and its file. */
let own: Buffer
let file: string

beforeAll(async () => {
  database = await startPostgresServer()
  const databaseUrl = await database.createDatabase()
  stack = await startSshStack({ environment: { DATABASE_URL: databaseUrl } })
  dev = await stack.person('dev')
  await stack.grant(dev)
  const stores = await openStores({ databaseUrl })
  const sealingKeyFile = join(stack.site.paths.control, 'keys', 'sealing.key')
  const sealingKey = await openSealingKey(stores.state, sealingKeyFile)
  const opened = await openKeys(stores.state, { realm: 'default', demo: false, sealingKey, clock })
  keys = opened.sshAuthorities
  await stores.close()
  file = homeFiles(dev.home).ssh.certificate
  own = publicKeyBlob(file)
})
afterAll(async () => {
  await stack?.stop()
  await database?.stop()
})

interface Change {
  readonly authority?: SshAuthority
  /** Instead of `sallyport://<realm>/person/<id>`. */
  readonly principals?: readonly string[]
  /** From and to, milliseconds from now. */
  readonly validMs?: readonly [number, number]
  readonly criticalOptions?: Readonly<Record<string, string>>
  readonly type?: 1 | 2
}

/** Signs the certificate again, with something changed (PROTOCOL.certkeys of OpenSSH). The serial stays: control knows it. */
async function signedAgain(change: Change): Promise<Buffer> {
  const reader = new ByteReader(own)
  const field = (): Buffer => readSshString(reader, 65_536)
  const u64 = (): bigint => reader.bytes(8).readBigUInt64BE()
  const algorithm = field()
  field()
  const [subject, serial, type, keyId] = [field(), u64(), reader.u32(), field()]
  const [principals, after, before, critical] = [field(), u64(), u64(), field()]
  const extensions = field()
  const { authority = keys['ssh-people'], validMs, criticalOptions } = change
  const seconds = (ms: number): bigint => BigInt(Math.floor((clock.wallMs() + ms) / 1_000))
  const options = Object.entries(criticalOptions ?? {}).flatMap(([name, value]) => [
    ...[sshString(name), sshString(sshString(value))],
  ])
  const body = Buffer.concat([
    ...[sshString(algorithm), sshString(randomBytes(32)), sshString(subject)],
    ...[sshU64(serial), sshU32(change.type ?? type), sshString(keyId)],
    sshString(
      change.principals === undefined
        ? principals
        : Buffer.concat(change.principals.map((name) => sshString(name))),
    ),
    ...[sshU64(validMs === undefined ? after : seconds(validMs[0]))],
    ...[sshU64(validMs === undefined ? before : seconds(validMs[1]))],
    ...[sshString(criticalOptions === undefined ? critical : Buffer.concat(options))],
    ...[sshString(extensions), sshString(''), sshString(authority.publicKey)],
  ])
  const value = await authority.signer.sign(body)
  const signature = Buffer.concat([sshString('ssh-ed25519'), sshString(value)])
  return Buffer.concat([body, sshString(signature)])
}

/** What both ways in say to somebody with this certificate. */
function shows(certificate: Buffer): Promise<Ran[]> {
  writeFileSync(file, `${sshPublicKeyLine(certificate)}\n`)
  const both = Object.values(ways).map((to) =>
    dev.ssh(['-o', 'BatchMode=yes', '-o', 'LogLevel=INFO', to('web1'), 'echo in']),
  )
  return Promise.all(both)
}

const day = 86_400_000
const principalOf = (id: string, realm = 'default'): string => `sallyport://${realm}/person/${id}`
const stranger = '7b3f6b0e-6a64-4f4e-9d55-1f7f4e9d1a01'
const madeUp = openSshAuthority(
  'ssh-people',
  createKeySigner(generateKeyPairSync('ed25519').privateKey),
)
const here = { 'source-address': '127.0.0.0/8' }

test.each<[string, () => Change]>([
  ['nothing changed', () => ({})],
  ['a shorter time', () => ({ validMs: [-60_000, 600_000] })],
  ['the address that it is used from', () => ({ criticalOptions: here })],
])('with %s it passes', async (_what, change) => {
  for (const ran of await shows(await signedAgain(change()))) {
    expect(ran.out.toString(), ran.err).toBe('in\n')
  }
})

describe('refused is what', () => {
  test.each<[string, () => Change, string?]>([
    ['expired', () => ({ validMs: [-day, -1_000] }), 'sally login'],
    ['is not valid yet', () => ({ validMs: [600_000, day] }), 'sally login'],
    ['an authority of nobody’s signed', () => ({ authority: madeUp })],
    ['the authority of hosts signed', () => ({ authority: keys['ssh-hosts'] })],
    ['the authority of sessions signed', () => ({ authority: keys['ssh-upstream'] })],
    ['names an account of a server', () => ({ principals: [stack.accounts[0].name] })],
    ['names nobody', () => ({ principals: [] })],
    [
      'names somebody else too',
      () => ({ principals: [dev.id, stranger].map((id) => principalOf(id)) }),
    ],
    ['names another realm’s', () => ({ principals: [principalOf(dev.id, 'other')] })],
    ['is for another address', () => ({ criticalOptions: { 'source-address': '192.0.2.0/24' } })],
    ['wants what nobody knows', () => ({ criticalOptions: { 'verify-fingers': 'yes' } })],
    ['is a host’s', () => ({ type: 2 })],
  ])('%s', async (_what, change, words = 'Permission denied') => {
    const both = await shows(await signedAgain(change()))
    for (const ran of both) {
      expect(ran).toMatchObject({ code: 255, out: Buffer.of() })
      expect(ran.err).toContain('Permission denied')
    }
    // The jump's own client says only what it calls an error.
    expect(both.map(({ err }) => err).join('')).toContain(words)
  })

  test('was tampered with, wherever', async () => {
    for (const at of [60, 110, Math.floor(own.length / 2), own.length - 20]) {
      const bytes = Buffer.from(own)
      bytes[at]! ^= 1
      for (const ran of await shows(bytes))
        expect(ran).toMatchObject({ code: 255, out: Buffer.of() })
    }
  })
})

describe('a proof', () => {
  let key: PeerKey
  beforeAll(() => {
    const parsed = ssh2.utils.parseKey(readFileSync(homeFiles(dev.home).ssh.key))
    if (parsed instanceof Error) throw parsed
    const shown = own
    const sign = (data: Buffer): Buffer => Buffer.from(parsed.sign(data))
    key = { shown, algorithm: 'ssh-ed25519-cert-v01@openssh.com', sign }
  })

  test('counts on the connection that it was made for', async () => {
    const peer = await connectPeer(stack.sshPort)
    expect(await authenticate(peer, '~web1', key)).toBe(true)
    peer.socket.destroy()
  })

  test('that was stolen from another connection is refused', async () => {
    const [from, thief] = await Promise.all([
      connectPeer(stack.sshPort),
      connectPeer(stack.sshPort),
    ])
    expect(await authenticate(thief, '~web1', key, from.transport.sessionId)).toBe(false)
    for (const peer of [from, thief]) peer.socket.destroy()
  })

  test('by another key is refused, with the certificate of the right one', async () => {
    const { privateKey } = generateKeyPairSync('ed25519')
    const signer = createKeySigner(privateKey)
    const peer = await connectPeer(stack.sshPort)
    const data = Buffer.from('anything else')
    const signature = Buffer.from(await signer.sign(data))
    expect(await authenticate(peer, '~web1', { ...key, sign: () => signature })).toBe(false)
    peer.socket.destroy()
  })
})

// Last: nothing of the person's passes afterwards.
test('revoked, it is refused at once', async () => {
  const { requestPem } = (await createHomeKeys()).ask
  const sshPublicKey = readFileSync(`${homeFiles(dev.home).ssh.key}.pub`, 'utf8').trim()
  const { ssh } = await stack.api.call('certificateIssue', {
    params: { id: dev.id },
    body: { requestPem, sshPublicKey },
  })
  const blob = Buffer.from(ssh!.certificate.split(' ')[1]!, 'base64')
  for (const ran of await shows(blob)) expect(ran.out.toString(), ran.err).toBe('in\n')
  await stack.api.call('certificateRevoke', {
    params: { serial: ssh!.serial },
    body: { reason: 'the laptop is gone' },
  })
  await eventually(
    () => shows(blob),
    (ran) => ran.every(({ code, out }) => code === 255 && out.length === 0),
  )
})
