import { generateKeyPairSync, webcrypto, X509Certificate, type KeyObject } from 'node:crypto'
import { Pkcs10CertificateRequestGenerator } from '../../../certs/x509-library.ts'
import { beforeAll, describe, expect, test } from 'vitest'
import { openAuthority } from '../../../certs/authority.ts'
import { identityUri, parseIdentityUri } from '../../../certs/identity-uri.ts'
import { issuePersonCertificate } from '../../../certs/issue-person.ts'
import { issueServerCertificate } from '../../../certs/issue-server.ts'
import { createKeyAndRequest, openRequest } from '../../../certs/request.ts'
import { renewalDueAtMs } from '../../../certs/rotation.ts'
import { createWorld, derOf, hourMs, newAuthority } from './world.ts'

let world: Awaited<ReturnType<typeof createWorld>>
beforeAll(async () => {
  world = await createWorld()
})

const requestInvalid = expect.objectContaining({ code: 'request-invalid' })
const configInvalid = expect.objectContaining({ code: 'config-invalid' })

describe('authorities', () => {
  test('each issues only what it is there for, and only in its realm', async () => {
    await expect(world.person(world.proxies)).rejects.toEqual(configInvalid)
    await expect(world.person(world.control)).rejects.toEqual(configInvalid)
    await expect(world.proxy(world.people)).rejects.toEqual(configInvalid)
    await expect(world.server(world.people)).rejects.toEqual(configInvalid)
    const other = await newAuthority('people', world.clock, { realm: 'other' })
    await expect(world.person(other)).rejects.toEqual(configInvalid)
    const relabelled = { ...world.control, purpose: 'people' as const }
    await expect(world.person(relabelled)).rejects.toEqual(configInvalid)
  })

  test('one that expired issues nothing', async () => {
    const short = await newAuthority('people', world.clock, { validForMs: 1000 })
    world.clock.advance(1000)
    await expect(world.person(short)).rejects.toEqual(configInvalid)
  })

  test('opening one again checks that certificate, purpose and key belong together', () => {
    const { purpose, certificatePem, signer } = world.people
    expect(openAuthority({ purpose, certificatePem, signer }).purpose).toBe('people')
    const wrong = [
      { purpose, certificatePem, signer: world.proxies.signer },
      { purpose: 'control' as const, certificatePem, signer },
      { purpose, certificatePem: world.proxies.certificatePem, signer: world.proxies.signer },
    ]
    for (const options of wrong) expect(() => openAuthority(options)).toThrow(configInvalid)
  })

  test('two of one purpose have different names', async () => {
    const next = await newAuthority('people', world.clock)
    const names = [world.people, next].map((a) => new X509Certificate(a.certificatePem).subject)
    expect(names[0]).not.toBe(names[1])
  })
})

describe('what is issued', () => {
  test('serial numbers do not repeat', async () => {
    const serials = new Set<string>()
    for (let i = 0; i < 20; i++) serials.add((await world.person()).serial)
    expect(serials.size).toBe(20)
  })

  test('validity has an upper bound for each kind, and a lower one', async () => {
    const { requestPem, clock, personId, people, proxies } = world
    const weekMs = 7 * 24 * hourMs
    const person = (validForMs: number) =>
      issuePersonCertificate(people, {
        ...{ requestPem, clock, personId, validForMs, realm: 'default', email: 'a@b.test' },
      })
    for (const validForMs of [0, -1, Number.NaN, Infinity, weekMs + 1]) {
      await expect(person(validForMs)).rejects.toEqual(requestInvalid)
    }
    await expect(person(weekMs)).resolves.toBeDefined()
    const server = { requestPem, clock, dnsNames: ['a.test'], validForMs: 100 * 24 * hourMs }
    await expect(issueServerCertificate(proxies, server)).rejects.toEqual(requestInvalid)
  })

  test('a certificate can begin after a moment, so that it counts where earlier ones do not', async () => {
    const { requestPem, clock, personId, people } = world
    const common = { requestPem, clock, personId, realm: 'default', email: 'a@b.test' }
    const nowMs = clock.wallMs()
    const issued = await issuePersonCertificate(people, {
      ...{ ...common, validForMs: hourMs, beginsAfterMs: nowMs + 1 },
    })
    expect(issued.notBeforeMs).toBe(nowMs + 1_000)
    const long = { ...common, validForMs: hourMs, beginsAfterMs: nowMs - 24 * hourMs }
    expect((await issuePersonCertificate(people, long)).notBeforeMs).toBe(nowMs - 60_000)
  })

  test('a server certificate names hosts, addresses and at most an identity', async () => {
    const issued = await world.server(world.control, 'sallyport://default/control/main')
    expect(new X509Certificate(issued.certificatePem).subjectAltName).toBe(
      'DNS:*.access.localhost, DNS:access.localhost, IP Address:127.0.0.1, ' +
        'URI:sallyport://default/control/main',
    )
  })

  test.each([
    ['no name', { dnsNames: [] }],
    ['a wildcard inside', { dnsNames: ['a.*.test'] }],
    ['a bare wildcard', { dnsNames: ['*'] }],
    ['a comma', { dnsNames: ['a.test, DNS:b.test'] }],
    ['upper case', { dnsNames: ['A.test'] }],
    ['a zero byte', { dnsNames: ['a.test\0.b.test'] }],
    ['a long label', { dnsNames: [`${'a'.repeat(64)}.test`] }],
    ['a name as address', { dnsNames: [], ipAddresses: ['localhost'] }],
    ['a strange identity', { dnsNames: ['a.test'], uri: 'https://a.test' }],
    ['too many names', { dnsNames: Array.from({ length: 101 }, (_, i) => `a${i}.test`) }],
  ])('no server certificate for %s', async (_, names) => {
    const { requestPem, clock, control } = world
    const options = { requestPem, clock, validForMs: hourMs, ...names }
    await expect(issueServerCertificate(control, options)).rejects.toEqual(requestInvalid)
  })

  test('a long host name is not squeezed into the common name', async () => {
    const { requestPem, clock, control } = world
    const long = `${'a'.repeat(60)}.${'b'.repeat(60)}.test`
    const options = { requestPem, clock, validForMs: hourMs, dnsNames: [long] }
    const { certificatePem } = await issueServerCertificate(control, options)
    const certificate = new X509Certificate(certificatePem)
    expect(certificate.checkHost(long)).toBe(long)
    expect(certificate.subject).toContain('CN=server')
  })
})

describe('requests', () => {
  test('a good one gives its key', async () => {
    const { requestPem, privateKeyPem } = await createKeyAndRequest()
    const key = await openRequest(requestPem)
    expect(key.type).toBe('public')
    expect(privateKeyPem).toMatch(/^-----BEGIN PRIVATE KEY-----\n/)
    // The two belong together: what one signs the other verifies.
    const { sign, verify } = await import('node:crypto')
    const signature = sign('sha256', Buffer.from('x'), privateKeyPem)
    expect(verify('sha256', Buffer.from('x'), key, signature)).toBe(true)
  })

  test('one whose signature is by another key proves nothing', async () => {
    const mine = await createKeyAndRequest()
    const theirs = await createKeyAndRequest()
    const publicKeyOf = async (pem: string) => spki(await openRequest(pem))
    const bytes = pemBytes(mine.requestPem)
    const at = bytes.indexOf(await publicKeyOf(mine.requestPem))
    ;(await publicKeyOf(theirs.requestPem)).copy(bytes, at)
    await expect(openRequest(pemOf(bytes))).rejects.toEqual(requestInvalid)
  })

  test.each(['RSA', 'P-384'])('a key of %s is refused', async (kind) => {
    const algorithm =
      kind === 'RSA'
        ? {
            name: 'RSASSA-PKCS1-v1_5',
            hash: 'SHA-256',
            modulusLength: 2048,
            publicExponent: new Uint8Array([1, 0, 1]),
          }
        : { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-256' }
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
    const request = await Pkcs10CertificateRequestGenerator.create({
      name: [{ CN: ['x'] }],
      keys,
      signingAlgorithm: algorithm,
    })
    await expect(openRequest(request.toString('pem'))).rejects.toEqual(requestInvalid)
  })

  test('text that is none is refused', async () => {
    const { certificatePem } = await world.person()
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
    const publicPem = key.export({ type: 'spki', format: 'pem' }) as string
    for (const text of ['', 'x', certificatePem, publicPem, 'A'.repeat(100_000), '\0']) {
      await expect(openRequest(text)).rejects.toEqual(requestInvalid)
    }
  })

  test('a request asks for nothing: names and extensions in it are ignored', async () => {
    const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
      'sign',
      'verify',
    ])
    const request = await Pkcs10CertificateRequestGenerator.create({
      name: [{ CN: ['admin@example.test'] }],
      keys,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    })
    const { clock, personId, people } = world
    const issued = await issuePersonCertificate(people, {
      ...{ clock, personId, realm: 'default', email: 'dev@example.test', validForMs: hourMs },
      requestPem: request.toString('pem'),
    })
    expect(derOf(issued.certificatePem).includes('admin@example.test')).toBe(false)
  })
})

describe('identities', () => {
  test('go into a URI and back', () => {
    const identity = { realm: 'default', kind: 'person', id: world.personId } as const
    expect(parseIdentityUri(identityUri(identity))).toEqual(identity)
    expect(() => identityUri({ ...identity, id: 'x' })).toThrow('not an identity')
    expect(() => identityUri({ ...identity, realm: 'a/b' })).toThrow('not an identity')
  })
})

describe('renewal', () => {
  test('is due at two thirds of the life, a little earlier with jitter', () => {
    const issued = { notBeforeMs: 1_000_000, expiresAtMs: 1_300_000 }
    expect(renewalDueAtMs(issued)).toBe(1_200_000)
    expect(renewalDueAtMs(issued, 0.5)).toBe(1_185_000)
    expect(renewalDueAtMs(issued, 1)).toBe(1_170_000)
    expect(renewalDueAtMs(issued, 7)).toBe(1_170_000)
    expect(renewalDueAtMs(issued, -7)).toBe(1_200_000)
  })
})

function spki(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' })
}

function pemBytes(pem: string): Buffer {
  return Buffer.from(pem.replaceAll(/-----.*?-----/g, ''), 'base64')
}

function pemOf(der: Buffer): string {
  return `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
}
