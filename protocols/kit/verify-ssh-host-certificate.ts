import { SallyportError } from './errors.ts'
import {
  isSignedByAuthority,
  parseSshCertificate,
  sshCertificateMoment,
  type SshCertificate,
} from './ssh-certificate.ts'

/**
 * The key of a server whose host certificate is signed by one of `authorities` (blobs of keys), names `name` exactly (lower case, as it is
 * dialled) and is valid at `atMs` (Unix milliseconds). That the server holds the key, its signature in the key exchange must show.
 * @throws SallyportError `protocol-violation` for what is no certificate, else `upstream-login`.
 */
export function verifySshHostCertificate(
  blob: Buffer,
  options: { authorities: readonly Buffer[]; name: string; atMs: number },
): SshCertificate['subject'] {
  const certificate = parseSshCertificate(blob)
  if (!isSignedByAuthority(certificate, options.authorities)) {
    throw refused('none of the authorities that count signed it')
  }
  if (certificate.kind !== 'host') throw refused('it is a user’s')
  const moment = sshCertificateMoment(certificate, options.atMs)
  if (moment === 'early') throw refused('it is not valid yet')
  if (moment === 'late') throw refused('it has expired')
  // Without a name a certificate would be good for every host.
  if (!certificate.principals.includes(options.name)) {
    throw refused(`it names ${certificate.principals.join(', ') || 'no host'}, not ${options.name}`)
  }
  const [option] = certificate.criticalOptions.keys()
  if (option !== undefined) throw refused(`it has the option ${option}, which is not known here`)
  return certificate.subject
}

function refused(why: string): SallyportError {
  return new SallyportError('upstream-login', `host certificate refused: ${why}`, {
    clientMessage: 'the resource did not prove who it is',
    hint: 'tell the operator: its host certificate was refused',
  })
}
