import { createPrivateKey } from 'node:crypto'
import { mkdirSync, rmSync } from 'node:fs'
import { writePrivateFile } from '../../protocols/kit/private-file.ts'
import { refuseOpenToOthers } from './closed-to-others.ts'
import type { HomeKeys } from './home-keys.ts'
import { homeFiles, type HomeConfig, type HomeFiles } from './home.ts'
import { formatKnownHosts } from './ssh/known-hosts.ts'

export interface IssuedFiles {
  readonly certificatePem: string
  readonly serverAuthoritiesPem: string
  readonly controlAuthorityPem: string
  /** Absent for who reaches no resource, and from a control that has no SSH. */
  readonly ssh?: { readonly certificate: string } | undefined
  readonly sshHostAuthorities?: readonly string[] | undefined
}

/** Makes or renews a home. The key goes first: a home without a certificate is signed out, one without its key is broken. */
export function writeHome(
  directory: string,
  config: HomeConfig,
  keys: Pick<HomeKeys, 'privateKeyPem' | 'ssh'>,
  issued: IssuedFiles,
): void {
  const files = homeFiles(directory)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  // One that was there already may be a trap: in /tmp anybody can have made it.
  refuseOpenToOthers([directory])
  mkdirSync(files.ssh.directory, { recursive: true, mode: 0o700 })
  refuseOpenToOthers([files.ssh.directory])
  writePrivateFile(files.key, keys.privateKeyPem)
  writeKeyDer(files, keys.privateKeyPem)
  // Each replaces what has its name; what a link there leads to stays as it is.
  writePrivateFile(files.certificate, issued.certificatePem)
  writePrivateFile(files.serverAuthorities, issued.serverAuthoritiesPem)
  writePrivateFile(files.controlAuthority, issued.controlAuthorityPem)
  writeSsh(files, config, keys, issued)
  writePrivateFile(files.config, `${JSON.stringify(config, null, 2)}\n`)
}

/** The key once more, as drivers of Java read it. */
export function writeKeyDer(files: HomeFiles, privateKeyPem: string | Buffer): void {
  const der = createPrivateKey(privateKeyPem).export({ type: 'pkcs8', format: 'der' })
  writePrivateFile(files.keyDer, der)
}

function writeSsh(
  { ssh }: HomeFiles,
  config: HomeConfig,
  keys: Pick<HomeKeys, 'ssh'>,
  issued: IssuedFiles,
): void {
  // A certificate beside the key of another is of no use, also for the moment between the two.
  for (const file of [ssh.certificate, ssh.key, ssh.publicKey]) rmSync(file, { force: true })
  if (issued.ssh !== undefined) {
    writePrivateFile(ssh.key, keys.ssh.privateKey)
    writePrivateFile(ssh.publicKey, `${keys.ssh.publicKey}\n`)
    writePrivateFile(ssh.certificate, `${issued.ssh.certificate}\n`)
  }
  if (issued.sshHostAuthorities !== undefined) {
    writePrivateFile(ssh.knownHosts, formatKnownHosts(config.domain, issued.sshHostAuthorities))
  }
}
