import { createPublicKey, webcrypto, type KeyObject } from 'node:crypto'
import { Pkcs10CertificateRequest, Pkcs10CertificateRequestGenerator } from './x509-library.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import { isP256 } from './key-signer.ts'

/** A request for a P-256 key has some 400 characters; OpenSSL's with attributes some 1,000. */
const requestCharactersMax = 8_192
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/**
 * A fresh P-256 key (PKCS #8) and the request (PKCS #10) that proves its possession. The name in the request means
 * nothing: who somebody is, the issuer knows.
 */
export async function createKeyAndRequest(): Promise<{
  privateKeyPem: string
  requestPem: string
}> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: ['sallyport'] }],
    keys,
    signingAlgorithm: algorithm,
  })
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
  const base64 = der.toString('base64').replace(/.{64}/g, '$&\n').trimEnd()
  return {
    privateKeyPem: `-----BEGIN PRIVATE KEY-----\n${base64}\n-----END PRIVATE KEY-----\n`,
    requestPem: `${request.toString('pem')}\n`,
  }
}

/**
 * The public key of a request whose signature proves that the requester holds the private one.
 * @throws SallyportError `request-invalid` for anything else, also for keys that are not P-256.
 */
export async function openRequest(requestPem: string): Promise<KeyObject> {
  try {
    if (requestPem.length > requestCharactersMax) throw new Error('too long')
    const request = new Pkcs10CertificateRequest(requestPem)
    const key = createPublicKey({
      key: Buffer.from(request.publicKey.rawData),
      type: 'spki',
      format: 'der',
    })
    if (!isP256(key)) throw new Error('the key is not ECDSA P-256')
    if (!(await request.verify())) throw new Error('its signature does not fit its key')
    return key
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new SallyportError('request-invalid', `not a certificate request: ${why}`, {
      clientMessage: 'that is not a valid certificate request (PKCS #10, ECDSA P-256)',
      cause: error,
    })
  }
}
