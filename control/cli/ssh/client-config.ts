/**
 * The ssh_config of a home: everything that ssh, and what runs ssh (scp, sftp, rsync, git, Ansible, editors), needs to know. No name of the
 * domain has to resolve: only the proxy is connected to, and it is asked for the rest.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { writePrivateFile } from '../../../protocols/kit/private-file.ts'
import type { ApiClient } from '../../api/client.ts'
import type { Home } from '../home.ts'
import { formatKnownHosts } from './known-hosts.ts'

/** What the inner and the outer login are called where nobody said: the proxy takes it for "no account named". */
const nobody = 'sallyport'
const hostName = /^[a-z0-9]([a-z0-9._:-]*[a-z0-9])?$/i

/** Throws `config-invalid` where the home does not know enough, or has a path that ssh_config cannot hold. */
export function formatClientConfig({ config, files }: Home): string {
  const { domain, proxyHost = domain } = config
  const port = config.proxyPorts.ssh
  if (port === undefined) {
    throw new SallyportError('config-invalid', 'proxyPorts.ssh is not set', {
      clientMessage: `${files.config} does not say which port the proxy has for ssh`,
      hint: 'renew the home: sally login --refresh; or add to it: "proxyPorts": {"ssh": 22}',
    })
  }
  for (const name of [domain, proxyHost]) if (!hostName.test(name)) throw unusable(name)
  const both = [
    `User ${nobody}`,
    `IdentityFile ${quote(files.ssh.key)}`,
    `CertificateFile ${quote(files.ssh.certificate)}`,
    'IdentitiesOnly yes',
    `UserKnownHostsFile ${quote(files.ssh.knownHosts)}`,
    'GlobalKnownHostsFile /dev/null',
    // Hosts are known by their certificates, or not at all.
    'StrictHostKeyChecking yes',
    'UpdateHostKeys no',
    'CheckHostIP no',
    'VerifyHostKeyDNS no',
    'CanonicalizeHostname no',
    // Where processors know AES, this is the fastest by far, and the proxy works on each byte twice.
    'Ciphers ^aes128-gcm@openssh.com,aes256-gcm@openssh.com',
    'ServerAliveInterval 30',
    'ServerAliveCountMax 3',
  ]
  return [
    '# Written by sally; what is changed here is lost.',
    `Host ${domain}`,
    ...indented([`HostName ${proxyHost}`, `Port ${port}`, `HostKeyAlias ${domain}`]),
    `Host *.${domain}`,
    ...indented(['Port 22', `ProxyJump ${domain}`]),
    `Host ${domain} *.${domain}`,
    ...indented(both),
    '# Many short connections are faster over one. In ~/.ssh/config:',
    `#   Host *.${domain}`,
    '#     ControlMaster auto',
    '#     ControlPath ~/.ssh/%C',
    '#     ControlPersist 10m',
    '',
  ].join('\n')
}

/** Writes the file that `ssh -F` and `Include` name, where it changed, and returns its text. */
export function writeClientConfig(home: Home): string {
  const text = formatClientConfig(home)
  writeIfChanged(home.files.ssh.config, text)
  return text
}

/** Learns anew who certifies the proxies' hosts. Rejects as the call does. */
export async function renewKnownHosts(api: ApiClient, { config, files }: Home): Promise<void> {
  const { hosts } = await api.call('sshAuthorities')
  writeIfChanged(files.ssh.knownHosts, formatKnownHosts(config.domain, hosts))
}

function writeIfChanged(file: string, text: string): void {
  // A home that an earlier version made has none.
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  if (existsSync(file) && readFileSync(file, 'utf8') === text) return
  writePrivateFile(file, text)
}

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => `    ${line}`)
}

/** ssh_config has no escapes that all versions know, and expands tokens, variables and patterns. */
export function quote(path: string): string {
  // oxlint-disable-next-line no-control-regex -- these are what must not be in it
  if (/["'\\$%*?[\]\u0000-\u001f\u007f]/.test(path)) throw unusable(path)
  return `"${path}"`
}

function unusable(text: string): SallyportError {
  return new SallyportError('config-invalid', `${JSON.stringify(text)} cannot be in ssh_config`, {
    clientMessage: `${JSON.stringify(text)} cannot be written into a configuration of ssh`,
    hint: 'use a home in a directory of plain characters: SALLY_HOME=DIR sally login --control URL --ca FILE',
  })
}
