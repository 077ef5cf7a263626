/** Keys, certificates and proofs of ours and of OpenSSH's, each judged by the other: ssh-keygen, ssh and sshd of Debian's. */
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { issueSshHostCertificate } from '../../certs/issue-ssh-host.ts'
import { issueSshPersonCertificate } from '../../certs/issue-ssh-person.ts'
import { issueSshSessionCertificate } from '../../certs/issue-ssh-session.ts'
import { createKeySigner } from '../../certs/key-signer.ts'
import { openSshAuthority, type SshAuthorityPurpose } from '../../certs/ssh-authority.ts'
import { verifySshUserCertificate } from '../../certs/verify-ssh-certificate.ts'
import { verifySshKeyProof } from '../../certs/verify-ssh-key-proof.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import {
  parseSshPublicKeyLine,
  sshFingerprint,
  sshKeyTypes,
  sshPublicKeyLine,
} from '../../protocols/kit/ssh-public-key.ts'
import { verifySshHostCertificate } from '../../protocols/kit/verify-ssh-host-certificate.ts'
import { createSshKey } from '../fakes/ssh-keys.ts'
import { makeKey, publicKeyBlob, startSshd, type SshdSite } from '../fakes/sshd-site.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-ssh-certs-'))
const at = (name: string): string => join(folder, name)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const clock = systemClock
const newAuthority = (purpose: SshAuthorityPurpose) =>
  openSshAuthority(purpose, createKeySigner(generateKeyPairSync('ed25519').privateKey))
const keygen = (...parameters: string[]): string =>
  execFileSync('ssh-keygen', parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

describe.each([
  ['ed25519', []],
  ['ecdsa', ['-b', '256']],
  ['ecdsa', ['-b', '384']],
  ['ecdsa', ['-b', '521']],
  ['rsa', ['-b', '3072']],
] as const)('a key of OpenSSH’s (%s %j)', (type, bits) => {
  const name = `key-${type}-${bits.join('')}`
  const authority = `ca-${type}-${bits.join('')}`
  beforeAll(() => {
    for (const each of [name, authority]) {
      keygen('-q', '-t', type, ...bits, '-N', '', '-C', 'a comment', '-f', at(each))
    }
  })

  test('is read, with the fingerprint that ssh-keygen prints', () => {
    const { blob } = parseSshPublicKeyLine(readFileSync(at(`${name}.pub`), 'utf8').trimEnd())
    expect(keygen('-lf', at(`${name}.pub`))).toContain(` ${sshFingerprint(blob)} `)
  })

  test('proves that somebody holds it', () => {
    const publicKey = parseSshPublicKeyLine(readFileSync(at(`${name}.pub`), 'utf8').trimEnd())
    const sign = ['-Y', 'sign', '-q', '-f', at(name), '-n', 'sallyport-ssh-key']
    const { stdout: proof } = spawnSync('ssh-keygen', sign, { input: 'mine\n', encoding: 'utf8' })
    const asked = { publicKey, namespace: 'sallyport-ssh-key', proof }
    verifySshKeyProof({ ...asked, text: 'mine\n' })
    expect(() => verifySshKeyProof({ ...asked, text: 'yours\n' })).toThrow('not this key’s')
  })

  test('certified by ssh-keygen, with this kind of authority, is verified', () => {
    const personId = randomUUID()
    const principal = `sallyport://default/person/${personId}`
    const certify = (more: string[] = [], principals = principal, validity = '-1m:+1h') => {
      const sign = ['-q', '-s', at(authority), '-I', 'dev@example.test', '-n', principals]
      keygen(...sign, '-V', validity, '-z', '77', ...more, at(`${name}.pub`))
      return publicKeyBlob(at(`${name}-cert.pub`))
    }
    const verify = (blob: Buffer, remoteAddress = '192.0.2.1') =>
      verifySshUserCertificate(blob, {
        authorities: [publicKeyBlob(at(`${authority}.pub`))],
        atMs: clock.wallMs(),
        remoteAddress,
      })
    expect(verify(certify())).toMatchObject({ personId, email: 'dev@example.test', serial: '4d' })
    const bound = certify(['-O', 'source-address=192.0.2.0/24'])
    verify(bound)
    expect(() => verify(bound, '198.51.100.1')).toThrow('not for use from')
    const expired = expect.objectContaining({ code: 'evidence-expired' }) as Error
    expect(() => verify(certify([], principal, '-2h:-1h'))).toThrow(expired)
    expect(() => verify(certify([], principal, '+1h:+2h'))).toThrow(expired)
    const refused = expect.objectContaining({ code: 'evidence-invalid' }) as Error
    for (const blob of [
      certify(['-O', 'force-command=/bin/true']),
      certify(['-O', 'verify-required']),
      certify(['-h']),
      certify([], `${principal},root`),
      certify([], 'root'),
      certify([], principal, 'always:forever'),
    ]) {
      expect(() => verify(blob)).toThrow(refused)
    }
  })
})

test('RSA authorities that sign with SHA-1 are refused', () => {
  keygen('-q', '-t', 'rsa', '-b', '2048', '-N', '', '-f', at('sha1'))
  makeKey(folder, 'under-sha1')
  keygen(
    '-q',
    '-s',
    at('sha1'),
    '-t',
    'ssh-rsa',
    '-I',
    'x',
    '-h',
    '-n',
    'a.test',
    at('under-sha1.pub'),
  )
  const blob = publicKeyBlob(at('under-sha1-cert.pub'))
  const options = { name: 'a.test', atMs: clock.wallMs() }
  const authorities = [publicKeyBlob(at('sha1.pub'))]
  expect(() => verifySshHostCertificate(blob, { ...options, authorities })).toThrow(
    'none of the authorities',
  )
})

test.each(sshKeyTypes)(
  'our certificate for %s says to ssh-keygen what it says to us',
  async (type) => {
    const key = createSshKey(type)
    const personId = randomUUID()
    const issued = await issueSshPersonCertificate(newAuthority('ssh-people'), {
      ...{ publicKey: key.publicKey, realm: 'default', personId, email: 'dev@example.test' },
      ...{ validForMs: 3_600_000, clock, demo: true, sourceAddress: '192.0.2.0/24' },
    })
    writeFileSync(at('ours-cert.pub'), `${sshPublicKeyLine(issued.certificate)} x\n`)
    const shown = keygen('-L', '-f', at('ours-cert.pub'))
    for (const words of [
      'user certificate',
      `Key ID: "dev@example.test"`,
      `Serial: ${BigInt(`0x${issued.serial}`)}`,
      `sallyport://default/person/${personId}`,
      'source-address 192.0.2.0/24',
      'demo@sallyport',
      sshFingerprint(key.publicKey),
    ]) {
      expect(shown).toContain(words)
    }
  },
)

test('a signature of our software key in hardware’s clothes is what OpenSSH takes for one', async () => {
  for (const type of [
    'sk-ssh-ed25519@openssh.com',
    'sk-ecdsa-sha2-nistp256@openssh.com',
  ] as const) {
    const key = createSshKey(type)
    writeFileSync(at('signers'), `dev@example.test ${key.line}\n`)
    writeFileSync(at('proof.sig'), key.prove('mine\n', 'file'))
    const check = ['-Y', 'verify', '-f', at('signers'), '-I', 'dev@example.test', '-n', 'file']
    const child = spawn('ssh-keygen', [...check, '-s', at('proof.sig')])
    child.stdin.end('mine\n')
    expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0)
  }
})

describe('sshd', () => {
  const upstream = newAuthority('ssh-upstream')
  const hosts = newAuthority('ssh-hosts')
  const people = newAuthority('ssh-people')
  const account = userInfo().username
  let sshd: SshdSite
  let key: Buffer

  beforeAll(async () => {
    writeFileSync(at('upstream.pub'), `${sshPublicKeyLine(upstream.publicKey)}\n`)
    for (const name of ['host', 'session']) makeKey(folder, name)
    key = publicKeyBlob(at('session.pub'))
    const host = await issueSshHostCertificate(hosts, {
      ...{ publicKey: publicKeyBlob(at('host.pub')), name: 'web1.access.test' },
      ...{ proxyId: randomUUID(), validForMs: 3_600_000, clock, demo: false },
    })
    writeFileSync(at('host-cert.pub'), `${sshPublicKeyLine(host.certificate)}\n`)
    writeFileSync(
      at('known_hosts'),
      `@cert-authority *.access.test ${sshPublicKeyLine(hosts.publicKey)}\n`,
    )
    sshd = await startSshd({
      lines: [
        `TrustedUserCAKeys ${at('upstream.pub')}`,
        `HostKey ${at('host')}`,
        `HostCertificate ${at('host-cert.pub')}`,
      ],
    })
  })
  afterAll(() => sshd?.stop())

  async function session(more: Partial<Parameters<typeof issueSshSessionCertificate>[1]> = {}) {
    const { certificate } = await issueSshSessionCertificate(upstream, {
      ...{ publicKey: key, account, sessionId: randomUUID(), grantId: randomUUID() },
      ...{ personEmail: 'dev@example.test', sourceAddresses: ['127.0.0.1'], permissions: [] },
      ...{ validForMs: 300_000, clock, demo: false, ...more },
    })
    return certificate
  }
  async function ssh(
    certificate: Buffer,
    name = 'web1.access.test',
    command = 'echo in',
    flags: string[] = [],
  ) {
    copyFileSync(at('session'), at('login'))
    writeFileSync(at('login-cert.pub'), `${sshPublicKeyLine(certificate)}\n`)
    const options = {
      ...{ BatchMode: 'yes', IdentitiesOnly: 'yes', StrictHostKeyChecking: 'yes' },
      ...{ UserKnownHostsFile: at('known_hosts'), GlobalKnownHostsFile: '/dev/null' },
      ...{ HostKeyAlias: name, IdentityFile: at('login'), CertificateFile: at('login-cert.pub') },
      ...{ HostKeyAlgorithms: 'ssh-ed25519-cert-v01@openssh.com', IdentityAgent: 'none' },
    }
    const words = Object.entries(options).flatMap(([word, value]) => ['-o', `${word}=${value}`])
    const place = [...flags, '-F', 'none', '-p', String(sshd.port), `${account}@127.0.0.1`, command]
    return promisify(execFile)('ssh', [...words, ...place]).then(
      ({ stdout }) => stdout.trim(),
      (error: unknown) => (error as { stderr: string }).stderr,
    )
  }

  test('lets a session in by its certificate, and its log says who it was', async () => {
    const sessionId = randomUUID()
    expect(await ssh(await session({ sessionId }))).toBe('in')
    expect(sshd.log).toContain(`person=dev@example.test session=${sessionId}`)
  })

  test('keeps out what is for another account, from elsewhere, over, or of another authority', async () => {
    const person = await issueSshPersonCertificate(people, {
      ...{ publicKey: key, realm: 'default', personId: randomUUID(), email: 'dev@example.test' },
      ...{ validForMs: 3_600_000, clock, demo: false },
    })
    const past = { ...clock, wallMs: () => clock.wallMs() - 3_600_000 }
    for (const certificate of [
      await session({ account: 'somebody-else' }),
      await session({ sourceAddresses: ['192.0.2.1'] }),
      await session({ clock: past }),
      person.certificate,
    ]) {
      expect(await ssh(certificate)).toContain('Permission denied')
    }
  })

  test('gives a terminal only where the certificate says so', async () => {
    const terminal = (certificate: Buffer) =>
      ssh(certificate, 'web1.access.test', 'tty; true', ['-tt'])
    expect(await terminal(await session({ permissions: ['permit-pty'] }))).toMatch(/^\/dev\//)
    expect(await terminal(await session())).toContain('PTY allocation request failed')
  })

  test('shows a host certificate that OpenSSH takes for its one name only', async () => {
    const certificate = await session()
    expect(await ssh(certificate, 'web1.access.test')).toBe('in')
    expect(await ssh(certificate, 'web2.access.test')).toMatch(
      /not contained|name is not listed|verification failed/i,
    )
  })
})
