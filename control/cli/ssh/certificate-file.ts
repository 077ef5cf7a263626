import { existsSync, readFileSync } from 'node:fs'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { parseSshCertificate, type SshCertificate } from '../../../protocols/kit/ssh-certificate.ts'
import type { HomeFiles } from '../home.ts'
import { signInHint } from '../sign-in-hint.ts'

export interface SshCertificateFile {
  /** Hex, as control lists it. */
  readonly serial: string
  readonly expiresAtMs: number
  readonly certificate: SshCertificate
}

/** The home's SSH certificate; undefined where there is none. Throws `config-invalid` for a file that holds something else. */
export function readSshCertificate({ ssh }: HomeFiles): SshCertificateFile | undefined {
  if (!existsSync(ssh.certificate)) return undefined
  try {
    const [, base64 = ''] = readFileSync(ssh.certificate, 'latin1').split(/\s+/)
    const certificate = parseSshCertificate(Buffer.from(base64, 'base64'))
    const expiresAtMs = Number(certificate.validBefore) * 1_000
    return { serial: certificate.serial.toString(16), expiresAtMs, certificate }
  } catch (error) {
    throw new SallyportError('config-invalid', `${ssh.certificate} is no certificate`, {
      clientMessage: `${ssh.certificate} is not an SSH certificate`,
      hint: signInHint,
      cause: error,
    })
  }
}
