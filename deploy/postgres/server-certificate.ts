import { createPrivateKey } from 'node:crypto'
import { createKeySigner } from '../../certs/key-signer.ts'
import { createKeyAndRequest, openRequest } from '../../certs/request.ts'
import { signCertificate } from '../../certs/sign-certificate.ts'
import type { Clock } from '../../protocols/kit/clock.ts'

const validForMs = 365 * 86_400_000

export interface ServerCertificate {
  /** Its authority signed this one certificate, and its key is gone. */
  readonly authorityPem: string
  readonly certificatePem: string
  readonly privateKeyPem: string
}

/** A certificate for a database, by an authority that exists for it alone: nothing of Sallyport's trusts it elsewhere. */
export async function createServerCertificate(
  names: readonly string[],
  clock: Clock,
): Promise<ServerCertificate> {
  const authorityKey = await createKeyAndRequest()
  const signer = createKeySigner(createPrivateKey(authorityKey.privateKeyPem))
  const validity = { clock, validForMs, validForMsMax: validForMs }
  const authority = await signCertificate(
    { signer, certificatePem: undefined },
    {
      subject: [['CN', `authority of ${names[0]}`]],
      names: [{ type: 'dns', value: names[0]! }],
      usage: 'authority',
      publicKey: signer.publicKey,
      ...validity,
    },
  )
  const key = await createKeyAndRequest()
  const issued = await signCertificate(
    { signer, certificatePem: authority.certificatePem },
    {
      subject: [['CN', names[0]!]],
      names: names.map((value) => ({ type: 'dns', value })),
      usage: 'server',
      publicKey: await openRequest(key.requestPem),
      clock,
      validForMs: validForMs - 86_400_000,
      validForMsMax: validForMs,
    },
  )
  return {
    authorityPem: authority.certificatePem,
    certificatePem: issued.certificatePem,
    privateKeyPem: key.privateKeyPem,
  }
}
