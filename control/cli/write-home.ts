import { createPrivateKey } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { writePrivateFile } from '../../protocols/kit/private-file.ts'
import { refuseOpenToOthers } from './closed-to-others.ts'
import { homeFiles, type HomeConfig, type HomeFiles } from './home.ts'

export interface IssuedFiles {
  readonly certificatePem: string
  readonly serverAuthoritiesPem: string
  readonly controlAuthorityPem: string
}

/** Makes or renews a home. The key goes first: a home without a certificate is signed out, one without its key is broken. */
export function writeHome(
  directory: string,
  config: HomeConfig,
  privateKeyPem: string,
  issued: IssuedFiles,
): void {
  const files = homeFiles(directory)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  // One that was there already may be a trap: in /tmp anybody can have made it.
  refuseOpenToOthers([directory])
  writePrivateFile(files.key, privateKeyPem)
  writeKeyDer(files, privateKeyPem)
  // Each replaces what has its name; what a link there leads to stays as it is.
  writePrivateFile(files.certificate, issued.certificatePem)
  writePrivateFile(files.serverAuthorities, issued.serverAuthoritiesPem)
  writePrivateFile(files.controlAuthority, issued.controlAuthorityPem)
  writePrivateFile(files.config, `${JSON.stringify(config, null, 2)}\n`)
}

/** The key once more, as drivers of Java read it. */
export function writeKeyDer(files: HomeFiles, privateKeyPem: string | Buffer): void {
  const der = createPrivateKey(privateKeyPem).export({ type: 'pkcs8', format: 'der' })
  writePrivateFile(files.keyDer, der)
}
