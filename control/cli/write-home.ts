import { mkdirSync, writeFileSync } from 'node:fs'
import { writePrivateFile } from '../../protocols/kit/private-file.ts'
import { homeFiles, type HomeConfig } from './home.ts'

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
  writePrivateFile(files.key, privateKeyPem)
  writeFileSync(files.certificate, issued.certificatePem, { mode: 0o600 })
  writeFileSync(files.serverAuthorities, issued.serverAuthoritiesPem, { mode: 0o600 })
  writeFileSync(files.controlAuthority, issued.controlAuthorityPem, { mode: 0o600 })
  writeFileSync(files.config, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })
}
