import { X509Certificate } from 'node:crypto'
import { SallyportError } from '../protocols/kit/errors.ts'
import type { Authority, AuthorityPurpose } from './authority.ts'
import { readCertificate } from './read-certificate.ts'
import { signCertificate, type CertificateContent, type Issued } from './sign-certificate.ts'

interface Leaf extends Omit<CertificateContent, 'subject'> {
  /** Undefined where the certificate names no realm. */
  readonly realm: string | undefined
  readonly commonName: string
  readonly demo: boolean
}

/**
 * Signs what the issuing functions have put together, after the checks that they share: the authority is there for this, it is
 * of the same realm, and what a demo's authority issues is marked as the demo's.
 */
export async function issueLeaf(
  authority: Authority,
  purpose: AuthorityPurpose,
  leaf: Leaf,
): Promise<Issued> {
  const parent = readCertificate(new X509Certificate(authority.certificatePem))
  if (authority.purpose !== purpose || parent.identity?.id !== purpose) {
    throw new SallyportError(
      'config-invalid',
      `the authority for ${authority.purpose} does not issue certificates for ${purpose}`,
    )
  }
  if (leaf.realm !== undefined && leaf.realm !== parent.identity.realm) {
    throw new SallyportError(
      'config-invalid',
      `the authority of realm ${parent.identity.realm} does not issue for realm ${leaf.realm}`,
    )
  }
  return signCertificate(authority, {
    ...leaf,
    subject: [
      ['O', 'Sallyport'],
      ...(leaf.demo || parent.demo ? [['OU', 'demo'] as const] : []),
      ['CN', leaf.commonName],
    ],
  })
}
