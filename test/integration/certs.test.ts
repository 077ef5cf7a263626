/** What certs/ issues, judged by others: OpenSSL's strict path validation, and real TLS handshakes. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthority, type Authority } from '../../certs/authority.ts'
import { issuePersonCertificate } from '../../certs/issue-person.ts'
import { issueProxyCertificate } from '../../certs/issue-proxy.ts'
import { issueServerCertificate } from '../../certs/issue-server.ts'
import { createSealedSigner } from '../../certs/sealed-signer.ts'
import { createKeyAndRequest, openRequest } from '../../certs/request.ts'
import { verifyClientCertificate } from '../../certs/verify.ts'
import { systemClock } from '../../protocols/kit/clock.ts'

const directory = mkdtempSync(join(tmpdir(), 'sallyport-certs-'))
const realm = 'default'
const id = '0b0e7f4e-6a57-4d0c-9d0a-0d3f7e5d8a11'
const common = { realm, clock: systemClock, validForMs: 3_600_000 }
let people: Authority
let proxies: Authority

beforeAll(async () => {
  people = await newAuthority('people')
  proxies = await newAuthority('proxies')
})
afterAll(() => rmSync(directory, { recursive: true }))

async function newAuthority(purpose: 'people' | 'proxies'): Promise<Authority> {
  const { signer } = createSealedSigner({
    sealingKey: Buffer.alloc(32, 1),
    algorithm: 'ES256',
    label: () => purpose,
  })
  return createAuthority({ ...common, validForMs: 86_400_000, purpose, signer })
}

async function newServer() {
  const { requestPem, privateKeyPem } = await createKeyAndRequest()
  const dnsNames = ['*.access.localhost', 'access.localhost']
  const issued = await issueServerCertificate(proxies, { ...common, requestPem, dnsNames })
  return { key: privateKeyPem, cert: issued.certificatePem }
}

async function newPerson() {
  const { requestPem, privateKeyPem } = await createKeyAndRequest()
  const options = { ...common, requestPem, personId: id, email: 'dev@example.test' }
  const issued = await issuePersonCertificate(people, options)
  return { key: privateKeyPem, cert: issued.certificatePem }
}

describe('openssl', () => {
  const openssl = async (...parameters: string[]): Promise<{ output: string; ok: boolean }> => {
    try {
      const { stdout, stderr } = await promisify(execFile)('openssl', parameters)
      return { output: stdout + stderr, ok: true }
    } catch (error) {
      const { stdout, stderr } = error as { stdout: string; stderr: string }
      return { output: stdout + stderr, ok: false }
    }
  }
  const file = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, text)
    return path
  }
  const verify = (authority: Authority, purpose: string, leaf: string, ...more: string[]) =>
    openssl(
      ...['verify', '-x509_strict', '-check_ss_sig', '-purpose', purpose, ...more],
      ...['-CAfile', file(`${authority.purpose}.pem`, authority.certificatePem), leaf],
    )

  test('accepts each kind for its purpose, strictly', async () => {
    const person = file('person.pem', (await newPerson()).cert)
    expect(await verify(people, 'sslclient', person)).toMatchObject({ ok: true })
    const { requestPem } = await createKeyAndRequest()
    const issued = await issueProxyCertificate(proxies, { ...common, requestPem, proxyId: id })
    const proxy = file('proxy.pem', issued.certificatePem)
    expect(await verify(proxies, 'sslclient', proxy)).toMatchObject({ ok: true })
    const server = file('server.pem', (await newServer()).cert)
    const host = ['-verify_hostname', 'orders-db.access.localhost']
    expect(await verify(proxies, 'sslserver', server, ...host)).toMatchObject({ ok: true })
  })

  test('refuses them for any other', async () => {
    const person = file('person2.pem', (await newPerson()).cert)
    const server = file('server2.pem', (await newServer()).cert)
    expect(await verify(people, 'sslserver', person)).toMatchObject({ ok: false })
    expect(await verify(proxies, 'sslclient', server)).toMatchObject({ ok: false })
    expect(await verify(proxies, 'sslclient', person)).toMatchObject({ ok: false })
    const host = ['-verify_hostname', 'a.b.access.localhost']
    expect(await verify(proxies, 'sslserver', server, ...host)).toMatchObject({ ok: false })
  })

  test("'s own requests are understood, and it understands ours", async () => {
    const key = join(directory, 'openssl.key')
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    const made = await openssl('req', '-new', ...curve, '-keyout', key, '-subj', '/CN=x')
    const requestPem = made.output.slice(made.output.indexOf('-----BEGIN CERTIFICATE REQUEST'))
    expect((await openRequest(requestPem)).asymmetricKeyType).toBe('ec')
    const ours = file('request.pem', (await createKeyAndRequest()).requestPem)
    const checked = await openssl('req', '-verify', '-noout', '-in', ours)
    expect(checked.ok).toBe(true)
    const keyFile = file('ours.key', (await createKeyAndRequest()).privateKeyPem)
    expect(await openssl('pkey', '-check', '-noout', '-in', keyFile)).toMatchObject({ ok: true })
  })

  test('reads what the certificate says', async () => {
    const person = file('person3.pem', (await newPerson()).cert)
    const { output } = await openssl('x509', '-noout', '-text', '-in', person)
    expect(output).toContain('O = Sallyport, CN = dev@example.test')
    expect(output).toContain(`URI:sallyport://default/person/${id}`)
    expect(output).toMatch(/Basic Constraints: critical\s+CA:FALSE/)
    expect(output).toMatch(/Key Usage: critical\s+Digital Signature\n/)
    expect(output).toMatch(/Extended Key Usage:\s+TLS Web Client Authentication\n/)
    const authority = file('authority.pem', people.certificatePem)
    const text = (await openssl('x509', '-noout', '-text', '-in', authority)).output
    expect(text).toMatch(/Basic Constraints: critical\s+CA:TRUE, pathlen:0/)
    expect(text).toMatch(/Key Usage: critical\s+Certificate Sign\n/)
  })
})

describe('a TLS handshake', () => {
  /** What the server saw of the client, and whether the client took the server. */
  async function shake(
    server: TlsOptions,
    client: { ca: string; cert?: string; key?: string; servername: string },
  ): Promise<{ certificate: Buffer | undefined; authorized: boolean }> {
    const options = { ...server, requestCert: true, rejectUnauthorized: false }
    const listener = createServer({ ...options, minVersion: 'TLSv1.3' })
    const arrived = new Promise<Buffer | undefined>((resolve) => {
      listener.once('secureConnection', (socket: TLSSocket) => {
        resolve(socket.getPeerX509Certificate()?.raw)
        socket.end()
      })
    })
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = listener.address() as AddressInfo
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...client })
      await new Promise((resolve, reject) => {
        socket.once('secureConnect', resolve).once('error', reject)
      })
      const authorized = socket.authorized
      const certificate = await arrived
      socket.destroy()
      return { certificate, authorized }
    } finally {
      listener.close()
    }
  }

  test('shows the person to the server and the wildcard name to the client', async () => {
    const server = await newServer()
    const person = await newPerson()
    const ca = proxies.certificatePem
    const servername = 'orders-db.access.localhost'
    const seen = await shake(server, { ...person, ca, servername })
    expect(seen.authorized).toBe(true)
    const verified = verifyClientCertificate(seen.certificate!, {
      authoritiesPem: [people.certificatePem],
      kind: 'person',
      atMs: systemClock.wallMs(),
    })
    expect(verified).toMatchObject({ realm, id, email: 'dev@example.test' })
  })

  test('tells a client that the server is another', async () => {
    const server = await newServer()
    const ca = proxies.certificatePem
    const other = await shake(server, { ca, servername: 'orders-db.other.localhost' })
    expect(other).toEqual({ authorized: false, certificate: undefined })
    const wrong = await shake(server, {
      ca: people.certificatePem,
      servername: 'orders-db.access.localhost',
    })
    expect(wrong.authorized).toBe(false)
    const person = await newPerson()
    const impostor = await shake(person, { ca: people.certificatePem, servername: 'a.test' })
    expect(impostor.authorized).toBe(false)
  })
})
