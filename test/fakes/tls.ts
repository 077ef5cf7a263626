/** Keys and certificates for tests, by openssl: one authority, a wildcard server, a resource, a client, a stranger. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { copyTemplate } from '../copy-template.ts'

export interface TestCertificates {
  readonly directory: string
  readonly caFile: string
  readonly caPem: string
  file(name: 'proxy' | 'resource' | 'client' | 'stranger', kind: 'key' | 'crt'): string
  read(name: 'proxy' | 'resource' | 'client' | 'stranger', kind: 'key' | 'crt'): string
  remove(): void
}

/** The proxy's names are `*.<domain>` and `<domain>`; the resource is `resource.internal` and 127.0.0.1. */
export async function copyCertificates(domain: string): Promise<TestCertificates> {
  const parent = mkdtempSync(join(tmpdir(), 'sallyport-tls-'))
  const directory = join(parent, 'tls')
  await copyTemplate(`certificates-1-${domain}`, directory, (fresh) => {
    mkdirSync(fresh)
    writeCertificates(fresh, domain)
  })
  return readCertificates(directory, parent)
}

/** The same of an authority that no other test has. */
export function makeCertificates(domain: string): TestCertificates {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-tls-'))
  writeCertificates(directory, domain)
  return readCertificates(directory, directory)
}

function writeCertificates(directory: string, domain: string): void {
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' })
  }
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  // Copies are taken of them for as long as the tests are the same.
  const lasting = ['-days', '3650']
  const authority = (name: string): void =>
    openssl(
      ...['req', '-x509', ...newKey, ...lasting, '-subj', `/CN=${name}`],
      ...['-keyout', `${name}.key`, '-out', `${name}.crt`],
    )
  const leaf = (name: string, ca: string, extensions: string): void => {
    writeFileSync(join(directory, `${name}.ext`), extensions)
    openssl(
      'req',
      ...newKey,
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
    )
    openssl(
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', `${ca}.crt`, '-CAkey', `${ca}.key`],
      ...['-CAcreateserial', ...lasting, '-extfile', `${name}.ext`, '-out', `${name}.crt`],
    )
  }
  authority('ca')
  authority('other')
  leaf('proxy', 'ca', `subjectAltName=DNS:*.${domain},DNS:${domain}\n`)
  leaf('resource', 'ca', 'subjectAltName=DNS:resource.internal,IP:127.0.0.1\n')
  leaf('client', 'ca', 'extendedKeyUsage=clientAuth\n')
  leaf('stranger', 'other', 'extendedKeyUsage=clientAuth\n')
}

function readCertificates(directory: string, owned: string): TestCertificates {
  const file = (name: string, kind: string): string => join(directory, `${name}.${kind}`)
  return {
    directory,
    caFile: file('ca', 'crt'),
    caPem: readFileSync(file('ca', 'crt'), 'utf8'),
    file,
    read: (name, kind) => readFileSync(file(name, kind), 'utf8'),
    remove: () => rmSync(owned, { recursive: true, force: true }),
  }
}
