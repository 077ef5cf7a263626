import { X509Certificate } from 'node:crypto'
import type { Clock } from '../protocols/kit/clock.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import { identityUri } from './identity-uri.ts'
import { readCertificate } from './read-certificate.ts'
import { signCertificate } from './sign-certificate.ts'
import type { Signer } from './signer.ts'

/** What an authority is trusted for. Each purpose has a key of its own. */
export const authorityPurposes = ['people', 'proxies', 'control'] as const
export type AuthorityPurpose = (typeof authorityPurposes)[number]

export interface Authority {
  readonly purpose: AuthorityPurpose
  /** Self-signed. */
  readonly certificatePem: string
  readonly signer: Signer
}

const dayMs = 86_400_000
const defaultValidForMs = 5 * 365 * dayMs

/**
 * Makes the certificate of a new authority. It can sign leaves only (path length 0) and names its realm and purpose in its
 * URI, so that it is not taken for the authority of anything else.
 * @param options.validForMs default 5 years, at most 10.
 * @throws SallyportError `request-invalid` for another validity.
 */
export async function createAuthority(options: {
  purpose: AuthorityPurpose
  realm: string
  /** ES256. */
  signer: Signer
  clock: Clock
  /** Marks the authority, and with it all it issues, as of a demo. */
  demo?: boolean
  validForMs?: number
}): Promise<Authority> {
  const { purpose, realm, signer, clock } = options
  const uri = identityUri({ realm, kind: 'authority', id: purpose })
  const { certificatePem } = await signCertificate(
    { signer, certificatePem: undefined },
    {
      subject: [
        ['O', 'Sallyport'],
        ...(options.demo === true ? [['OU', 'demo'] as const] : []),
        // The key is in the name: after a rotation two authorities of one purpose are told apart.
        ['CN', `${realm} ${purpose} authority ${signer.kid.slice(0, 8)}`],
      ],
      names: [{ type: 'url', value: uri }],
      usage: 'authority',
      publicKey: signer.publicKey,
      clock,
      validForMs: options.validForMs ?? defaultValidForMs,
      validForMsMax: 10 * 366 * dayMs,
    },
  )
  return { purpose, certificatePem, signer }
}

/**
 * An authority that was made before: its certificate and the signer that goes with it.
 * @throws SallyportError `config-invalid` if the certificate is no authority's, or belongs to another key or purpose.
 */
export function openAuthority(options: {
  purpose: AuthorityPurpose
  certificatePem: string
  signer: Signer
}): Authority {
  const { purpose, certificatePem, signer } = options
  const certificate = readCertificate(new X509Certificate(certificatePem))
  if (!certificate.authority || certificate.identity?.id !== purpose) {
    throw new SallyportError('config-invalid', `not the certificate of an authority for ${purpose}`)
  }
  if (!certificate.publicKey.equals(signer.publicKey)) {
    throw new SallyportError(
      'config-invalid',
      `the certificate of the authority for ${purpose} belongs to another key`,
    )
  }
  return { purpose, certificatePem, signer }
}
