/** Whether the other end is who the resource says it is: a pinned key, or a certificate of an authority that names the host. */
import type { Clock } from '../../kit/clock.ts'
import { ByteReader } from '../../kit/byte-reader.ts'
import { isSshCertificate } from '../../kit/ssh-certificate.ts'
import { encodeSshPublicKey } from '../../kit/ssh-public-key.ts'
import { readSshText } from '../../kit/ssh-wire.ts'
import { verifySshHostCertificate } from '../../kit/verify-ssh-host-certificate.ts'
import type { SshHostTrust } from '../../session.ts'

/**
 * Host key algorithms that can end in a match, the ones that OpenSSH prefers first. RSA signs with SHA-2 only, and as a plain key: the
 * library cannot name a certificate's algorithm and its type apart.
 */
export function wantedHostKeys({ hostKeys, hostAuthorities }: SshHostTrust): string[] {
  const kinds = ['ssh-ed25519', ...['256', '384', '521'].map((bits) => `ecdsa-sha2-nistp${bits}`)]
  const pinned = new Set(hostKeys.map((blob) => readSshText(new ByteReader(blob), 64)))
  const certificates = kinds.map((kind) => `${kind}-cert-v01@openssh.com`)
  return [
    ...(hostAuthorities.length > 0 ? certificates : []),
    ...kinds.filter((kind) => pinned.has(kind)),
    ...(pinned.has('ssh-rsa') ? ['rsa-sha2-512', 'rsa-sha2-256'] : []),
  ]
}

/** The key that must have signed the exchange; undefined refuses the host. `name` is what a certificate has to name. */
export function trustedHostKey(
  shown: Buffer,
  trust: SshHostTrust,
  name: string,
  clock: Clock,
): Buffer | undefined {
  if (!isSshCertificate(shown)) {
    return trust.hostKeys.some((blob) => blob.equals(shown)) ? shown : undefined
  }
  const { hostAuthorities: authorities } = trust
  try {
    const atMs = clock.wallMs()
    return encodeSshPublicKey(verifySshHostCertificate(shown, { authorities, name, atMs }).key)
  } catch {
    return undefined
  }
}
