import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { issueSshHostCertificate } from '../../../certs/issue-ssh-host.ts'
import { issueSshPersonCertificate } from '../../../certs/issue-ssh-person.ts'
import { issueSshSessionCertificate } from '../../../certs/issue-ssh-session.ts'
import { demoExtension, signSshCertificate } from '../../../certs/sign-ssh-certificate.ts'
import { isAddressAmong } from '../../../certs/source-address.ts'
import { openSshAuthority } from '../../../certs/ssh-authority.ts'
import { verifySshUserCertificate } from '../../../certs/verify-ssh-certificate.ts'
import type { SallyportError } from '../../../protocols/kit/errors.ts'
import {
  isSshCertificate,
  parseSshCertificate,
  sshCertificateType,
} from '../../../protocols/kit/ssh-certificate.ts'
import { sshKeyTypes } from '../../../protocols/kit/ssh-public-key.ts'
import { sshString } from '../../../protocols/kit/ssh-wire.ts'
import { verifySshHostCertificate } from '../../../protocols/kit/verify-ssh-host-certificate.ts'
import { createSshKey } from '../../fakes/ssh-keys.ts'
import { everyDamage, expectOnlyRefusals } from './ssh-damage.ts'
import { createSshWorld, hourMs, newSshAuthority } from './ssh-world.ts'

const world = createSshWorld()
const { clock, people, hosts, upstream } = world
const remoteAddress = '203.0.113.5'

function verify(blob: Buffer, more: { atMs?: number; remoteAddress?: string } = {}) {
  const atMs = clock.wallMs()
  const authorities = [newSshAuthority('ssh-people').publicKey, people.publicKey]
  return verifySshUserCertificate(blob, { authorities, atMs, remoteAddress, ...more })
}

function refusal(run: () => unknown): Pick<SallyportError, 'code' | 'message'> {
  try {
    run()
  } catch (error) {
    return error as SallyportError
  }
  throw new Error('it was taken')
}

describe('a person’s certificate', () => {
  test.each(sshKeyTypes)('for %s says who, until when, with which key', async (type) => {
    const { publicKey } = createSshKey(type)
    const issued = await world.person({ publicKey })
    expect(isSshCertificate(issued.certificate)).toBe(true)
    expect(issued.certificate.toString('latin1', 4)).toContain(sshCertificateType(type))
    expect(verify(issued.certificate)).toMatchObject({
      ...{ realm: 'default', personId: world.personId, email: 'dev@example.test', demo: false },
      ...{ serial: issued.serial, issuedAtMs: issued.notBeforeMs, expiresAtMs: issued.expiresAtMs },
      subject: { type },
    })
    expect(issued.expiresAtMs - clock.wallMs()).toBeLessThanOrEqual(hourMs)
  })

  test('of every truncation and every bit that is flipped none is taken', async () => {
    const { certificate } = await world.person({ sourceAddress: '203.0.113.0/24' })
    const counts = expectOnlyRefusals(everyDamage(certificate), (blob) => verify(blob))
    expect(counts).toEqual({ refused: certificate.length * 9, taken: 0 })
    const parsed = expectOnlyRefusals(everyDamage(certificate), parseSshCertificate)
    expect(parsed.refused).toBeGreaterThan(certificate.length)
  })

  test('made of noise, nothing is taken and nothing else is thrown', async () => {
    const { certificate } = await world.person()
    const noise = Array.from({ length: 1_000 }, (_, index) => {
      const blob = Buffer.from(certificate)
      const at = (index * 7919) % blob.length
      randomBytes(1 + (index % 9)).copy(blob, at)
      return index % 3 === 0 ? Buffer.concat([blob.subarray(0, at), randomBytes(index % 99)]) : blob
    }).filter((blob) => !blob.equals(certificate))
    expect(expectOnlyRefusals(noise, (blob) => verify(blob)).taken).toBe(0)
  })

  test('counts from its first moment to just before its last', async () => {
    const { certificate, notBeforeMs, expiresAtMs } = await world.person()
    for (const atMs of [notBeforeMs, expiresAtMs - 1]) verify(certificate, { atMs })
    for (const atMs of [notBeforeMs - 1, expiresAtMs]) {
      expect(refusal(() => verify(certificate, { atMs })).code).toBe('evidence-expired')
    }
  })

  test('begins after the moment that it is told', async () => {
    const beginsAfterMs = clock.wallMs()
    expect((await world.person({ beginsAfterMs })).notBeforeMs).toBeGreaterThan(beginsAfterMs)
  })

  test('carries the mark of a demo', async () => {
    expect(verify((await world.person({ demo: true })).certificate).demo).toBe(true)
  })

  test('is for its source addresses only', async () => {
    const sourceAddress = '203.0.113.0/24,2001:db8::/32'
    const { certificate } = await world.person({ sourceAddress })
    for (const good of ['203.0.113.5', '::ffff:203.0.113.9', '2001:db8::7']) {
      verify(certificate, { remoteAddress: good })
    }
    for (const bad of ['203.0.114.5', '2001:db9::7', '', 'unknown']) {
      const { code } = refusal(() => verify(certificate, { remoteAddress: bad }))
      expect(code).toBe('evidence-invalid')
    }
  })

  test('is for a week at most, and keys must be good', async () => {
    const code = (run: Promise<unknown>) =>
      run.then(
        () => '',
        (error: SallyportError) => error.code,
      )
    expect(await code(world.person({ validForMs: 8 * 24 * hourMs }))).toBe('request-invalid')
    expect(await code(world.person({ publicKey: Buffer.from('nonsense') }))).toBe('request-invalid')
    const { certificate } = await world.person()
    expect(await code(world.person({ publicKey: certificate }))).toBe('request-invalid')
  })
})

describe('what is not a person’s certificate', () => {
  const { publicKey } = createSshKey()
  const uri = `sallyport://default/person/${randomUUID()}`
  const common = { publicKey, clock, demo: false, validForMs: hourMs, validForMsMax: hourMs }
  const user = { ...common, kind: 'user', keyId: 'dev@example.test', principals: [uri] } as const
  const sign = async (more: Partial<Parameters<typeof signSshCertificate>[2]>) =>
    (await signSshCertificate(people, 'ssh-people', { ...user, ...more })).certificate

  test.each([
    ['a host’s', { kind: 'host' }],
    ['one for an account', { principals: ['root'] }],
    ['one for two', { principals: [uri, 'root'] }],
    ['one for a proxy', { principals: [uri.replace('person', 'proxy')] }],
    ['one with a forced command', { criticalOptions: { 'force-command': '/bin/true' } }],
    ['one with an option of tomorrow', { criticalOptions: { 'verify-required': '' } }],
    ['one with a list of addresses that is none', { criticalOptions: { 'source-address': '*' } }],
    ['one that lives too long', { validForMs: 30 * 24 * hourMs, validForMsMax: 31 * 24 * hourMs }],
  ] as const)('%s is refused', async (_, more) => {
    const certificate = await sign(more)
    expect(refusal(() => verify(certificate)).code).toBe('evidence-invalid')
  })

  test('one of another authority is refused, whatever it says', async () => {
    const other = newSshAuthority('ssh-people')
    const { certificate } = await issueSshPersonCertificate(other, {
      ...{ publicKey, realm: 'default', personId: randomUUID(), email: 'dev@example.test' },
      ...{ validForMs: hourMs, clock, demo: false },
    })
    expect(refusal(() => verify(certificate)).message).toContain('none of the known authorities')
  })

  test('one that names our authority and is signed by another is refused', async () => {
    const impostor = { ...newSshAuthority('ssh-people'), publicKey: people.publicKey }
    const { certificate } = await signSshCertificate(impostor, 'ssh-people', user)
    expect(refusal(() => verify(certificate)).message).toContain('none of the known authorities')
  })

  test('a bare key is refused', () => {
    expect(isSshCertificate(publicKey)).toBe(false)
    expect(refusal(() => verify(publicKey)).code).toBe('evidence-invalid')
  })
})

describe('authorities', () => {
  const { publicKey } = createSshKey()

  test('each signs for its purpose alone', async () => {
    const shared = { publicKey, validForMs: 60_000, clock, demo: false }
    const id = randomUUID()
    const session = {
      ...{ ...shared, account: 'deploy', sessionId: id, grantId: id, permissions: [] },
      ...{ personEmail: 'dev@example.test', sourceAddresses: ['192.0.2.1'] },
    }
    const person = { ...shared, realm: 'default', personId: id, email: 'dev@example.test' }
    const host = { ...shared, name: 'web1.access.localhost', proxyId: id }
    for (const authority of [people, hosts, upstream]) {
      const results = await Promise.allSettled([
        issueSshPersonCertificate(authority, person),
        issueSshHostCertificate(authority, host),
        issueSshSessionCertificate(authority, session),
      ])
      const allowed = [people, hosts, upstream].indexOf(authority)
      expect(results.map(({ status }) => status === 'fulfilled')).toEqual(
        [0, 1, 2].map((index) => index === allowed),
      )
    }
  })

  test('take Ed25519 keys only', () => {
    const signer = { ...people.signer, algorithm: 'ES256' as const }
    expect(() => openSshAuthority('ssh-people', signer)).toThrow('Ed25519')
  })

  test('a signer that signs something else is found out', async () => {
    const signer = { ...people.signer, sign: () => Promise.resolve(randomBytes(64)) }
    await expect(
      signSshCertificate({ ...people, signer }, 'ssh-people', {
        ...{ kind: 'user', publicKey, keyId: '', principals: ['a'], demo: false, clock },
        ...{ validForMs: 1_000, validForMsMax: 1_000 },
      }),
    ).rejects.toThrow('did not sign')
  })
})

describe('a session’s certificate', () => {
  test('is for one account, from the proxy’s addresses, with what is allowed and no more', async () => {
    const [sessionId, grantId] = [randomUUID(), randomUUID()]
    const { certificate, expiresAtMs } = await issueSshSessionCertificate(upstream, {
      ...{ publicKey: createSshKey().publicKey, account: 'deploy', sessionId, grantId, clock },
      ...{ personEmail: 'dev@example.test', validForMs: 300_000, demo: true },
      sourceAddresses: ['192.0.2.1', '2001:db8::/64'],
      permissions: ['permit-pty', 'permit-agent-forwarding'],
    })
    const read = parseSshCertificate(certificate)
    expect(read).toMatchObject({ kind: 'user', principals: ['deploy'] })
    for (const word of ['dev@example.test', sessionId, grantId]) expect(read.keyId).toContain(word)
    expect([...read.extensions.keys()]).toEqual(
      [demoExtension, 'permit-agent-forwarding', 'permit-pty'].toSorted(),
    )
    expect([...read.criticalOptions]).toEqual([
      ['source-address', sshString('192.0.2.1,2001:db8::/64')],
    ])
    expect(expiresAtMs).toBeLessThanOrEqual(clock.wallMs() + 300_000)
  })
})

describe('a host’s certificate', () => {
  const issue = (name: string) =>
    issueSshHostCertificate(hosts, {
      ...{ publicKey: createSshKey().publicKey, name, proxyId: randomUUID(), clock, demo: false },
      validForMs: 24 * hourMs,
    })
  const authorities = [hosts.publicKey]

  test('is good for its one name, in its time, under its authority', async () => {
    const { certificate, expiresAtMs } = await issue('web1.access.localhost')
    const good = { authorities, name: 'web1.access.localhost', atMs: clock.wallMs() }
    expect(verifySshHostCertificate(certificate, good).type).toBe('ssh-ed25519')
    const wrong = [
      { ...good, name: 'web2.access.localhost' },
      { ...good, name: '' },
      { ...good, atMs: expiresAtMs },
      { ...good, atMs: clock.wallMs() - hourMs },
      { ...good, authorities: [people.publicKey] },
      { ...good, authorities: [] },
    ]
    for (const options of wrong) {
      expect(() => verifySshHostCertificate(certificate, options)).toThrow('host certificate')
    }
  })

  test('a user’s is not one', async () => {
    const { certificate } = await world.person()
    const options = { authorities: [people.publicKey], name: 'x', atMs: clock.wallMs() }
    expect(() => verifySshHostCertificate(certificate, options)).toThrow('it is a user’s')
  })
})

test.each([
  ['192.0.2.1', '192.0.2.1', true],
  ['192.0.2.0/24', '192.0.2.200', true],
  ['192.0.2.0/24', '192.0.3.1', false],
  ['0.0.0.0/0', '192.0.3.1', true],
  ['0.0.0.0/0', '2001:db8::1', false],
  ['::/0', '2001:db8::1', true],
  ['10.0.0.1, 192.0.2.1', '192.0.2.1', false],
  ['192.0.2.1,', '192.0.2.1', false],
  ['192.0.2.0/33', '192.0.2.1', false],
  ['!192.0.2.9,192.0.2.0/24', '192.0.2.1', false],
  ['', '192.0.2.1', false],
  ['fe80::/10', 'fe80::1%eth0', true],
])('the list %j and the address %s: %s', (list, address, expected) => {
  expect(isAddressAmong(list, address)).toBe(expected)
})
