import { X509Certificate } from 'node:crypto'

/** The certificates in a text of several, one PEM each. */
export function splitPem(pems: string): string[] {
  return pems.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
}

/** Throws for what is no certificate. */
export function parseCertificate(pem: string): X509Certificate {
  return new X509Certificate(pem)
}
