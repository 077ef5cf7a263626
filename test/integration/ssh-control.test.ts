/** What control does for SSH, over both stores: certificates, registered keys, and what proxies are told and may ask. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKeyAndRequest } from '../../certs/request.ts'
import { verifySshUserCertificate } from '../../certs/verify-ssh-certificate.ts'
import type { ToControl, ToProxy } from '../../control/api/feed.ts'
import type { Level, Role } from '../../control/api/names.ts'
import { sshKeyProofNamespace, sshKeyProofText } from '../../control/api/ssh.ts'
import { sourceAddressesOf } from '../../control/ssh/source-addresses.ts'
import { parseSshCertificate } from '../../protocols/kit/ssh-certificate.ts'
import { parseSshPublicKeyLine, sshFingerprint } from '../../protocols/kit/ssh-public-key.ts'
import { sshString } from '../../protocols/kit/ssh-wire.ts'
import { verifySshHostCertificate } from '../../protocols/kit/verify-ssh-host-certificate.ts'
import { createSshKey, type SshKey } from '../fakes/ssh-keys.ts'
import { follow, type FeedClient } from './feed-client.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import {
  resourceNamed,
  startTestControl,
  type RunningSite,
  type TestPerson,
  type TestProxy,
} from './running-control.ts'
import { verifyControlChain } from './verify-control-chain.ts'

const hourMs = 3_600_000
const reason = { reason: 'a test' }
const nobody = '00000000-0000-4000-8000-000000000000'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

const web1 = {
  name: 'web1',
  protocol: 'ssh',
  address: { host: '127.0.0.1', port: 22 },
  levels: {
    read: { account: 'reader', secret: 'certificate:web1' },
    admin: { account: 'root', secret: 'certificate:web1' },
    write: { account: 'deploy', secret: 'sealed:web1/write' },
  },
  ssh: {
    hostKeys: [createSshKey().line],
    agentForwarding: ['admin'],
    tunnels: [{ host: '127.0.0.1', port: 80, carries: 'http', levels: ['admin'] }],
    bastion: {
      ...{ host: 'bastion', account: 'hop', secret: 'certificate:hop' },
      hostKeys: [createSshKey().line],
    },
  },
} as const

describe.each(['embedded', 'postgres'] as const)('SSH over the %s store', (engine) => {
  let site: RunningSite
  let proxy: TestProxy
  let elsewhere: TestProxy
  let feed: FeedClient
  let people = 0

  beforeAll(async () => {
    site = await startTestControl(
      engine === 'embedded' ? {} : { databaseUrl: await server.createDatabase() },
    )
    proxy = await site.addProxy()
    const body = { name: 'other', domain: 'other.example.test' }
    await site.admin.call('groupCreate', { body })
    elsewhere = await site.addProxy('other')
    const resources = [web1, resourceNamed('orders-db')]
    await site.admin.call('resourcesApply', { body: { file: { resources: resources as never } } })
    const { control } = site.running
    const authorityPem = control.keys.authorities.control.certificatePem
    feed = await follow({ url: site.running.url, authorityPem }, proxy)
  })
  afterAll(async () => {
    feed?.close()
    await site.close()
  })

  const keys = () => site.running.control.keys
  const newPerson = (...roles: Role[]) =>
    site.addPerson(`dev-${++people}@example.test`, roles.length === 0 ? ['engineer'] : roles)
  const grant = (person: TestPerson, level: Level, resource = 'web1', forMs = 2 * hourMs) =>
    site.admin.call('grantMake', {
      body: { person: person.person.email, resource, level, forMs, ...reason },
    })
  async function issue(person: TestPerson, sshPublicKey: string) {
    const { requestPem } = await createKeyAndRequest()
    return site.admin.call('certificateIssue', {
      params: { id: person.person.id },
      body: { requestPem, sshPublicKey },
    })
  }
  const verify = (line: string) =>
    verifySshUserCertificate(Buffer.from(line.split(' ')[1]!, 'base64'), {
      authorities: [keys().sshAuthorities['ssh-people'].publicKey],
      atMs: site.clock.wallMs(),
      remoteAddress: '192.0.2.1',
    })
  function add(person: TestPerson, key: SshKey, more: { forMs?: number; proof?: string } = {}) {
    const text = sshKeyProofText('default', person.person.id)
    const proof = key.prove(text, sshKeyProofNamespace)
    return person.api.call('sshKeyAdd', {
      body: { publicKey: `${key.line} laptop`, name: 'laptop', proof, ...more },
    })
  }
  let lastRequest = 0
  async function confirm(
    more: Partial<Extract<ToControl, { kind: 'confirm' }>>,
    client = feed,
  ): Promise<string> {
    const requestId = ++lastRequest
    client.send({
      ...{ kind: 'confirm', requestId, sessionId: randomUUID(), resource: 'web1', wanted: '' },
      ...{ protocol: 'ssh', ...more },
    })
    const fits = (message: ToProxy) => 'requestId' in message && message.requestId === requestId
    const answer = await Promise.any([feed.next('confirmed', fits), feed.next('denied', fits)])
    return answer.kind === 'denied' ? answer.why : 'confirmed'
  }
  const actions = async () => (await site.admin.call('auditActions', { query: {} })).items

  describe('a person’s certificate', () => {
    test('comes beside the X.509 one, for the same person, with the same end', async () => {
      const dev = await newPerson()
      const key = createSshKey('ecdsa-sha2-nistp256')
      const issued = await issue(dev, key.line)
      const ssh = verify(issued.ssh!.certificate)
      expect(ssh).toMatchObject({ personId: dev.person.id, email: dev.person.email, demo: false })
      expect(ssh.serial).toBe(issued.ssh!.serial)
      expect(Math.abs(ssh.expiresAtMs - issued.expiresAtMs)).toBeLessThanOrEqual(1_000)
      expect(issued.sshHostAuthorities).toEqual(keys().sshAuthorityLines['ssh-hosts'])
      const [latest] = await actions()
      expect(latest).toMatchObject({ action: 'certificate.issued' })
      expect(latest!.details).toMatchObject({ sshSerial: ssh.serial })
    })

    test('is none for an auditor, and none for a key that is not taken', async () => {
      const auditor = await newPerson('auditor')
      expect((await issue(auditor, createSshKey().line)).ssh).toBeUndefined()
      const dev = await newPerson()
      expect((await issue(dev, createSshKey().line)).ssh).toBeDefined()
      const broken = createSshKey().line.slice(0, -8)
      await expect(issue(dev, broken)).rejects.toMatchObject({ code: 'request-invalid' })
      await expect(issue(dev, 'ssh-dss AAAA')).rejects.toMatchObject({ code: 'request-invalid' })
    })

    test('lets its person in until it is revoked, and proxies hear of that', async () => {
      const dev = await newPerson()
      await grant(dev, 'read')
      const { ssh } = await issue(dev, createSshKey().line)
      const asked = { personId: dev.person.id, certificateSerial: ssh!.serial }
      expect(await confirm(asked)).toBe('confirmed')
      expect(await confirm({ ...asked, personId: nobody })).toBe('no-person')
      const serial = ssh!.serial
      await site.admin.call('certificateRevoke', { params: { serial }, body: reason })
      expect(await confirm(asked)).toBe('certificate-revoked')
      await feed.next('events', ({ events }) =>
        events.some((event) => event.kind === 'certificate-revoked' && event.serial === serial),
      )
    })

    test('and the X.509 one beside it are revoked together', async () => {
      const dev = await newPerson()
      await grant(dev, 'read')
      for (const revoked of ['serial', 'ssh'] as const) {
        const { serial, ssh } = await issue(dev, createSshKey().line)
        const other = await issue(dev, createSshKey().line)
        const params = { serial: revoked === 'serial' ? serial : ssh!.serial }
        await site.admin.call('certificateRevoke', { params, body: reason })
        const of = (certificateSerial: string) =>
          confirm({ personId: dev.person.id, certificateSerial })
        expect(await of(serial)).toBe('certificate-revoked')
        expect(await of(ssh!.serial)).toBe('certificate-revoked')
        expect(await of(other.ssh!.serial)).toBe('confirmed')
      }
    })

    test('ends with its person, and one of before does not count after', async () => {
      const dev = await newPerson()
      await grant(dev, 'read')
      const { ssh } = await issue(dev, createSshKey().line)
      const asked = { personId: dev.person.id, certificateSerial: ssh!.serial }
      const params = { id: dev.person.id }
      await site.admin.call('personRevoke', { params, body: reason })
      expect(await confirm(asked)).toBe('person-revoked')
      await expect(issue(dev, createSshKey().line)).rejects.toMatchObject({ code: 'conflict' })
      await site.admin.call('personRestore', { params, body: reason })
      expect(await confirm(asked)).toBe('certificate-revoked')
    })
  })

  describe('a registered key', () => {
    test('identifies its person once they prove to hold it', async () => {
      const dev = await newPerson()
      await grant(dev, 'read')
      const key = createSshKey('sk-ssh-ed25519@openssh.com')
      const added = await add(dev, key)
      expect(added).toMatchObject({
        ...{ personId: dev.person.id, personEmail: dev.person.email, publicKey: key.line },
        fingerprint: sshFingerprint(key.publicKey),
      })
      const { items } = await dev.api.call('sshKeys', { query: {} })
      expect(items).toEqual([added])
      const { fingerprint } = added
      await feed.next('events', ({ events }) =>
        events.some(
          (event) =>
            event.kind === 'ssh-key' &&
            event.fingerprint === fingerprint &&
            event.personEmail === dev.person.email &&
            event.expiresAtMs === added.expiresAtMs,
        ),
      )
      const asked = { personId: dev.person.id, keyFingerprint: fingerprint }
      expect(await confirm(asked)).toBe('confirmed')
      const other = await newPerson()
      await grant(other, 'read')
      expect(await confirm({ ...asked, personId: other.person.id })).toBe('key-removed')
      // Two pieces of evidence are one too many.
      expect(await confirm({ ...asked, certificateSerial: dev.serial })).toBe('certificate-revoked')

      await expect(
        other.api.call('sshKeyRemove', { params: { id: added.id } }),
      ).rejects.toMatchObject({ code: 'not-found' })
      await dev.api.call('sshKeyRemove', { params: { id: added.id } })
      expect(await confirm(asked)).toBe('key-removed')
      await feed.next('events', ({ events }) =>
        events.some(
          (event) => event.kind === 'ssh-key-removed' && event.fingerprint === fingerprint,
        ),
      )
      await expect(
        dev.api.call('sshKeyRemove', { params: { id: added.id } }),
      ).rejects.toMatchObject({ code: 'not-found' })
      expect((await actions()).map(({ action }) => action)).toEqual(
        expect.arrayContaining(['ssh-key.added', 'ssh-key.removed']),
      )
    })

    test('goes with the certificate that it was registered with, when that is lost', async () => {
      const dev = await newPerson()
      await grant(dev, 'read')
      const { fingerprint } = await add(dev, createSshKey())
      const params = { serial: dev.serial }
      await site.admin.call('certificateRevoke', { params, body: reason })
      expect(await confirm({ personId: dev.person.id, keyFingerprint: fingerprint })).toBe(
        'key-removed',
      )
      await feed.next('events', ({ events }) =>
        events.some(
          (event) => event.kind === 'ssh-key-removed' && event.fingerprint === fingerprint,
        ),
      )
      await expect(add(dev, createSshKey())).rejects.toMatchObject({ code: 'evidence-invalid' })
    })

    test('without a proof, or with another’s, is not registered', async () => {
      const [dev, thief] = [await newPerson(), await newPerson()]
      const key = createSshKey()
      const ofDev = sshKeyProofText('default', dev.person.id)
      const proofs = [
        'nothing',
        key.prove(ofDev, sshKeyProofNamespace),
        key.prove(sshKeyProofText('default', thief.person.id), 'file'),
        createSshKey().prove(sshKeyProofText('default', thief.person.id), sshKeyProofNamespace),
      ]
      for (const proof of proofs) {
        await expect(add(thief, key, { proof })).rejects.toMatchObject({ code: 'request-invalid' })
      }
      expect((await thief.api.call('sshKeys', { query: {} })).items).toEqual([])
    })

    test('is one person’s at a time, whoever comes first', async () => {
      const [one, two] = [await newPerson(), await newPerson()]
      const key = createSshKey()
      const results = await Promise.allSettled([add(one, key), add(two, key), add(one, key)])
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      for (const result of results) {
        if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'conflict' })
      }
    })

    test('ends by itself, and makes room then', async () => {
      const [dev, next] = [await newPerson(), await newPerson()]
      await grant(dev, 'read')
      const key = createSshKey()
      const { fingerprint } = await add(dev, key, { forMs: 60_000 })
      try {
        site.clock.shiftMs = 61_000
        expect(await confirm({ personId: dev.person.id, keyFingerprint: fingerprint })).toBe(
          'key-removed',
        )
        expect((await add(next, key)).personId).toBe(next.person.id)
      } finally {
        site.clock.shiftMs = 0
      }
    })

    test('goes with its person, and does not come back with them', async () => {
      const dev = await newPerson()
      await grant(dev, 'read')
      const { fingerprint } = await add(dev, createSshKey())
      const params = { id: dev.person.id }
      await site.admin.call('personRevoke', { params, body: reason })
      await feed.next('events', ({ events }) =>
        events.some(
          (event) => event.kind === 'ssh-key-removed' && event.fingerprint === fingerprint,
        ),
      )
      await site.admin.call('personRestore', { params, body: reason })
      expect(await confirm({ personId: dev.person.id, keyFingerprint: fingerprint })).toBe(
        'key-removed',
      )
    })

    test('admins see and remove everybody’s; of one’s own there are twenty', async () => {
      const dev = await newPerson()
      const added = []
      for (let each = 0; each < 20; each++) added.push(await add(dev, createSshKey()))
      await expect(add(dev, createSshKey())).rejects.toMatchObject({ code: 'conflict' })
      const query = { person: dev.person.email, limit: 15 }
      const first = await site.admin.call('sshKeys', { query })
      const rest = await site.admin.call('sshKeys', { query: { ...query, cursor: first.next! } })
      const ids = [...first.items, ...rest.items].map(({ id }) => id)
      expect(ids.toSorted()).toEqual(added.map(({ id }) => id).toSorted())
      expect(rest.next).toBeNull()
      const stranger = await newPerson()
      expect((await stranger.api.call('sshKeys', { query })).items).toEqual([])
      await site.admin.call('sshKeyRemove', { params: { id: added[0]!.id } })
      await add(dev, createSshKey())
    })
  })

  describe('the whole state', () => {
    test('holds the authority of people, and the keys that count', async () => {
      const [dev, gone] = [await newPerson(), await newPerson()]
      const { fingerprint } = await add(dev, createSshKey())
      const { fingerprint: ofGone } = await add(gone, createSshKey())
      const params = { id: gone.person.id }
      await site.admin.call('personRevoke', { params, body: reason })
      const { control } = site.running
      const authorityPem = control.keys.authorities.control.certificatePem
      const fresh = await follow({ url: site.running.url, authorityPem }, elsewhere)
      await fresh.next('resync', ({ more }) => !more)
      const events = fresh.events()
      fresh.close()
      expect(events).toContainEqual({
        kind: 'ssh-authorities',
        people: control.keys.sshAuthorityLines['ssh-people'],
      })
      const found = events.flatMap((event) => (event.kind === 'ssh-key' ? event.fingerprint : []))
      expect(found).toContain(fingerprint)
      expect(found).not.toContain(ofGone)
    })

    test('the three authorities have three keys', () => {
      const lines = Object.values(keys().sshAuthorityLines).flat()
      expect(new Set(lines).size).toBe(3)
    })
  })

  describe('a session’s certificate', () => {
    const certify = (
      grantId: string,
      more: { of?: 'resource' | 'bastion'; publicKey?: string } = {},
      by = proxy,
    ) =>
      by.api.call('proxySshSession', {
        body: {
          ...{ sessionId: randomUUID(), grantId },
          ...{ publicKey: createSshKey().publicKey.toString('base64'), ...more },
        },
      })
    const read = ({ certificate }: { certificate: string }) =>
      parseSshCertificate(Buffer.from(certificate, 'base64'))

    test('is for the account of the grant’s level, with what the resource allows there', async () => {
      const dev = await newPerson()
      const [reading, administering] = [await grant(dev, 'read'), await grant(dev, 'admin')]
      const plain = read(await certify(reading.id))
      expect(plain).toMatchObject({ kind: 'user', principals: ['reader'] })
      expect(plain.authority).toEqual(keys().sshAuthorities['ssh-upstream'].publicKey)
      expect([...plain.extensions.keys()]).toEqual(['permit-pty'])
      for (const word of [dev.person.email, reading.id]) expect(plain.keyId).toContain(word)
      const sources = plain.criticalOptions.get('source-address')!
      expect(sources).toEqual(sshString(sourceAddressesOf('127.0.0.1').join(',')))
      const high = read(await certify(administering.id))
      expect(high.principals).toEqual(['root'])
      expect([...high.extensions.keys()]).toEqual([
        ...['permit-agent-forwarding', 'permit-port-forwarding', 'permit-pty'],
      ])
      const hop = read(await certify(reading.id, { of: 'bastion' }))
      expect(hop.principals).toEqual(['hop'])
      expect([...hop.extensions.keys()]).toEqual(['permit-port-forwarding'])
      expect((await actions())[0]).toMatchObject({
        action: 'ssh-session.certified',
        details: { of: 'bastion', account: 'hop', person: dev.person.email },
      })
    })

    test('lives five minutes, and never longer than its grant', async () => {
      const dev = await newPerson()
      const [long, short] = [await grant(dev, 'read'), await grant(dev, 'read', 'web1', 60_000)]
      const endOf = async (id: string) => (await certify(id)).expiresAtMs - site.clock.wallMs()
      expect(await endOf(long.id)).toBeLessThanOrEqual(300_000)
      expect(await endOf(long.id)).toBeGreaterThan(240_000)
      expect(await endOf(short.id)).toBeLessThanOrEqual(60_000)
    })

    test('is refused alike for every grant that does not give one', async () => {
      const dev = await newPerson()
      const sealed = await grant(dev, 'write')
      const database = await grant(dev, 'read', 'orders-db')
      const live = await grant(dev, 'read')
      const revoked = await grant(dev, 'read')
      const params = { id: revoked.id }
      await site.admin.call('grantRevoke', { params, body: reason })
      const ended = await grant(dev, 'read', 'web1', 60_000)
      const refused = { code: 'access-denied' }
      for (const { id } of [sealed, database, revoked, { id: nobody }]) {
        await expect(certify(id), id).rejects.toMatchObject(refused)
      }
      await expect(certify(live.id, {}, elsewhere)).rejects.toMatchObject(refused)
      await expect(certify(database.id, { of: 'bastion' })).rejects.toMatchObject(refused)
      try {
        site.clock.shiftMs = 61_000
        await expect(certify(ended.id)).rejects.toMatchObject(refused)
      } finally {
        site.clock.shiftMs = 0
      }
      const publicKey = Buffer.from('no key').toString('base64')
      await expect(certify(live.id, { publicKey })).rejects.toMatchObject({
        code: 'request-invalid',
      })
      await certify(live.id)
      await site.admin.call('personRevoke', { params: { id: dev.person.id }, body: reason })
      await expect(certify(live.id)).rejects.toMatchObject(refused)
    })

    test('is good from where the group says its proxies come', async () => {
      const dev = await newPerson()
      const { id } = await grant(dev, 'read')
      const change = (sshSourceAddresses: string[]) =>
        site.admin.call('groupChange', {
          params: { name: 'default' },
          body: { sshSourceAddresses },
        })
      const changed = await change(['203.0.113.0/28', '2001:db8::1'])
      expect(changed.sshSourceAddresses).toEqual(['203.0.113.0/28', '2001:db8::1'])
      const { criticalOptions } = read(await certify(id))
      expect(criticalOptions.get('source-address')).toEqual(sshString('203.0.113.0/28,2001:db8::1'))
      await expect(change(['everywhere'])).rejects.toMatchObject({ code: 'request-invalid' })
      await change([])
      await expect(
        site.admin.call('groupChange', {
          params: { name: 'nowhere' },
          body: { sshSourceAddresses: [] },
        }),
      ).rejects.toMatchObject({ code: 'not-found' })
    })
  })

  describe('a host’s certificate', () => {
    const key = createSshKey()
    const certify = (name: string, by = proxy) =>
      by.api.call('proxySshHost', { body: { name, publicKey: key.publicKey.toString('base64') } })

    test('is for one name of the group’s domain, there or not', async () => {
      const authorities = keys().sshAuthorityLines['ssh-hosts'].map(
        (line) => parseSshPublicKeyLine(line).blob,
      )
      for (const name of ['web1.access.example.test', 'nothing.access.example.test']) {
        const { certificate } = await certify(name)
        const options = { authorities, name, atMs: site.clock.wallMs() }
        const blob = Buffer.from(certificate, 'base64')
        expect(verifySshHostCertificate(blob, options).type).toBe('ssh-ed25519')
      }
      await certify('access.example.test')
      await certify('web1.other.example.test', elsewhere)
    })

    test.each([
      'example.test',
      'web1.other.example.test',
      'a.b.access.example.test',
      'webaccess.example.test',
      'access.example.test.evil.test',
    ])('%s is none of it', async (name) => {
      await expect(certify(name)).rejects.toMatchObject({ code: 'not-allowed' })
    })
  })

  test('all of it is in a chain that verifies', async () => {
    expect((await verifyControlChain(site.admin, 'without')).damage).toEqual([])
  })
})
