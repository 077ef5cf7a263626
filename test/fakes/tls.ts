/** Keys and certificates for tests, by openssl: one authority, a wildcard server, a resource, a client, a stranger. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface TestCertificates {
  readonly directory: string
  readonly caFile: string
  readonly caPem: string
  file(name: 'proxy' | 'resource' | 'client' | 'stranger', kind: 'key' | 'crt'): string
  read(name: 'proxy' | 'resource' | 'client' | 'stranger', kind: 'key' | 'crt'): string
  remove(): void
}

/** The proxy's names are `*.<domain>` and `<domain>`; the resource is `resource.internal` and 127.0.0.1. */
export function makeCertificates(domain: string): TestCertificates {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-tls-'))
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' })
  }
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const authority = (name: string): void =>
    openssl(
      ...['req', '-x509', ...newKey, '-days', '2', '-subj', `/CN=${name}`],
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
      ...['-CAcreateserial', '-days', '1', '-extfile', `${name}.ext`, '-out', `${name}.crt`],
    )
  }
  authority('ca')
  authority('other')
  leaf('proxy', 'ca', `subjectAltName=DNS:*.${domain},DNS:${domain}\n`)
  leaf('resource', 'ca', 'subjectAltName=DNS:resource.internal,IP:127.0.0.1\n')
  leaf('client', 'ca', 'extendedKeyUsage=clientAuth\n')
  leaf('stranger', 'other', 'extendedKeyUsage=clientAuth\n')
  const file = (name: string, kind: string): string => join(directory, `${name}.${kind}`)
  return {
    directory,
    caFile: file('ca', 'crt'),
    caPem: readFileSync(file('ca', 'crt'), 'utf8'),
    file,
    read: (name, kind) => readFileSync(file(name, kind), 'utf8'),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}
