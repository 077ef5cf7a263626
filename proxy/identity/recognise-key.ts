import type { ControlView } from '../grants/control-view.ts'
import { isSshCertificate, parseSshCertificate } from '../../protocols/kit/ssh-certificate.ts'
import { sshFingerprint } from '../../protocols/kit/ssh-public-key.ts'

/** Whether a signature of this key could identify anybody: one of our authorities is named in it, or it is registered. Never throws. */
export function recogniseKey(
  blob: Buffer,
  view: Pick<ControlView, 'sshAuthorities' | 'sshKey'>,
): boolean {
  if (!isSshCertificate(blob)) return view.sshKey(sshFingerprint(blob)) !== undefined
  try {
    const { authority, kind } = parseSshCertificate(blob)
    return kind === 'user' && view.sshAuthorities.some((known) => known.equals(authority))
  } catch {
    return false
  }
}
