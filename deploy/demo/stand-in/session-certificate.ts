import { isAddressListed } from '../../../certs/source-address.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import {
  isSignedByAuthority,
  parseSshCertificate,
  sshCertificateMoment,
  type SshCertificate,
} from '../../../protocols/kit/ssh-certificate.ts'

/**
 * Judges a certificate as sshd does with `TrustedUserCAKeys`: a user's, signed by one of `authorities` (blobs), naming `account`, valid at
 * `atMs`, for use from `remoteAddress`, with no critical option that is not known. That the client holds its key, a signature must show.
 * @throws SallyportError `protocol-violation` for what is no certificate, else `evidence-invalid`.
 */
export function verifySessionCertificate(
  blob: Buffer,
  options: {
    authorities: readonly Buffer[]
    account: string
    remoteAddress: string
    atMs: number
  },
): SshCertificate {
  const { authorities, account, remoteAddress, atMs } = options
  const certificate = parseSshCertificate(blob)
  if (!isSignedByAuthority(certificate, authorities)) throw refused('another authority signed it')
  if (certificate.kind !== 'user') throw refused('it is a host’s')
  if (!certificate.principals.includes(account)) throw refused(`it is not for ${account}`)
  const moment = sshCertificateMoment(certificate, atMs)
  if (moment !== 'valid') throw refused(moment === 'early' ? 'it is not valid yet' : 'it has ended')
  for (const [name, value] of certificate.criticalOptions) {
    if (name !== 'source-address') throw refused(`it has the option ${name}, which is not known`)
    if (!isAddressListed(value, remoteAddress)) throw refused(`it is not for ${remoteAddress}`)
  }
  return certificate
}

function refused(why: string): SallyportError {
  return new SallyportError('evidence-invalid', `certificate refused: ${why}`)
}
