import { createHash, timingSafeEqual, X509Certificate } from 'node:crypto'
import { connect, type DetailedPeerCertificate } from 'node:tls'
import { SallyportError } from '../../protocols/kit/errors.ts'

const chainLengthMax = 8
const handshakeMsMax = 10_000

/**
 * The authority (PEM) in the chain that control presents whose SHA-256 is the pin (32 bytes), or undefined if none is. Nothing is
 * sent in this handshake, and nothing of it is trusted but the certificate that the pin names. Rejects with
 * `control-unreachable`.
 */
export async function fetchPinnedAuthority(
  controlUrl: string,
  pin: Buffer,
): Promise<string | undefined> {
  const url = new URL(controlUrl)
  const chain = await presentedChain(url.hostname, Number(url.port === '' ? 443 : url.port))
  const pinned = chain.find((certificate) => timingSafeEqual(sha256(certificate.raw), pin))
  return pinned?.ca === true ? pinned.toString() : undefined
}

function presentedChain(host: string, port: number): Promise<X509Certificate[]> {
  return new Promise((resolve, reject) => {
    const unreachable = (error: Error): void => {
      socket.destroy()
      reject(
        new SallyportError('control-unreachable', `control at ${host}:${port}: ${error.message}`, {
          clientMessage: `control at ${host}:${port} cannot be reached: ${error.message}`,
          cause: error,
        }),
      )
    }
    const socket = connect({
      host,
      port,
      minVersion: 'TLSv1.3',
      // Deliberate: what is presented is only looked at, and compared with the pin.
      rejectUnauthorized: false,
      ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
    })
    socket.setTimeout(handshakeMsMax, () => unreachable(new Error('no answer in time')))
    socket.on('error', unreachable)
    socket.on('secureConnect', () => {
      const chain: X509Certificate[] = []
      let certificate: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
      while (certificate?.raw !== undefined && chain.length < chainLengthMax) {
        chain.push(new X509Certificate(certificate.raw))
        const issuer: DetailedPeerCertificate = certificate.issuerCertificate
        // A self-signed certificate is its own issuer.
        certificate = issuer === certificate ? undefined : issuer
      }
      socket.destroy()
      resolve(chain)
    })
  })
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}
