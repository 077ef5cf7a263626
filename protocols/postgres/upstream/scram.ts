/**
 * The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS.
 *
 * Source: RFC 5802 (messages and keys), RFC 7677 (SHA-256), RFC 5929 section 4 (tls-server-end-point).
 */
import {
  createHash,
  createHmac,
  pbkdf2 as pbkdf2WithCallback,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'
import { promisify } from 'node:util'
import { SallyportError } from '../../kit/errors.ts'

const pbkdf2 = promisify(pbkdf2WithCallback)

const iterationsMin = 4096
/** A hostile server could make us count for hours. */
const iterationsMax = 1_000_000
const keyBytes = 32

/** What binds the login to the TLS connection below it; see RFC 5802 section 5.1, attribute "c". */
export type ChannelBinding =
  /** Not possible on this connection. */
  | { readonly kind: 'none' }
  /** Possible for us, but the server does not offer it. */
  | { readonly kind: 'not-offered' }
  | { readonly kind: 'tls-server-end-point'; readonly hash: Buffer }

export interface ScramExchange {
  readonly mechanism: 'SCRAM-SHA-256' | 'SCRAM-SHA-256-PLUS'
  readonly clientFirst: string
  /** Answers the server's first message. Rejects with `upstream-login` on one that must not be trusted. */
  respond(serverFirst: string, password: string): Promise<string>
  /** Throws `upstream-login` unless the server proved that it knows the password, too. */
  verify(serverFinal: string): void
}

/** Starts an exchange. `nonce` (printable ASCII without comma) is random except in tests. */
export function startScram(
  binding: ChannelBinding,
  nonce = randomBytes(18).toString('base64'),
): ScramExchange {
  const header =
    binding.kind === 'tls-server-end-point'
      ? 'p=tls-server-end-point,,'
      : binding.kind === 'not-offered'
        ? 'y,,'
        : 'n,,'
  // The server takes the account from the start-up packet.
  const clientFirstBare = `n=,r=${nonce}`
  let serverSignature: Buffer | undefined
  return {
    mechanism: binding.kind === 'tls-server-end-point' ? 'SCRAM-SHA-256-PLUS' : 'SCRAM-SHA-256',
    clientFirst: header + clientFirstBare,
    async respond(serverFirst, password) {
      const { combinedNonce, salt, iterations } = readServerFirst(serverFirst, nonce)
      const bindingData =
        binding.kind === 'tls-server-end-point'
          ? Buffer.concat([Buffer.from(header), binding.hash])
          : Buffer.from(header)
      const withoutProof = `c=${bindingData.toString('base64')},r=${combinedNonce}`
      const authMessage = `${clientFirstBare},${serverFirst},${withoutProof}`
      const salted = await pbkdf2(saslPrepare(password), salt, iterations, keyBytes, 'sha256')
      const clientKey = hmac(salted, 'Client Key')
      const storedKey = createHash('sha256').update(clientKey).digest()
      const clientSignature = hmac(storedKey, authMessage)
      const proof = Buffer.from(clientKey.map((byte, index) => byte ^ clientSignature[index]!))
      serverSignature = hmac(hmac(salted, 'Server Key'), authMessage)
      salted.fill(0)
      clientKey.fill(0)
      return `${withoutProof},p=${proof.toString('base64')}`
    },
    verify(serverFinal) {
      const claimed = /^v=([A-Za-z0-9+/]+={0,2})$/.exec(serverFinal.split(',')[0]!)?.[1]
      const bytes = claimed === undefined ? undefined : Buffer.from(claimed, 'base64')
      if (
        serverSignature === undefined ||
        bytes === undefined ||
        bytes.length !== serverSignature.length ||
        !timingSafeEqual(bytes, serverSignature)
      ) {
        throw untrusted('the server could not prove that it knows the password')
      }
    },
  }
}

function readServerFirst(
  message: string,
  nonce: string,
): { combinedNonce: string; salt: Buffer; iterations: number } {
  const match = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9]\d{0,8})(?:,|$)/.exec(
    message,
  )
  if (match === null) throw untrusted('malformed first message')
  const [, combinedNonce, salt, count] = match as unknown as [string, string, string, string]
  if (!combinedNonce.startsWith(nonce) || combinedNonce.length === nonce.length) {
    throw untrusted('the nonce is not ours')
  }
  const iterations = Number(count)
  if (iterations < iterationsMin || iterations > iterationsMax) {
    throw untrusted(`${iterations} iterations (${iterationsMin} to ${iterationsMax} are taken)`)
  }
  return { combinedNonce, salt: Buffer.from(salt, 'base64'), iterations }
}

/** RFC 3454, table B.1, as alternatives: some of these would combine inside a character class. */
const mappedToNothing =
  /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/gu

/**
 * SASLprep (RFC 4013) as far as PostgreSQL goes: NFKC, spaces to U+0020, what is mapped to nothing left out. What it
 * prohibits is left as it is, as the server does.
 */
export function saslPrepare(password: string): string {
  if (/^[\x20-\x7e]*$/.test(password)) return password
  return password
    .replaceAll(/[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g, ' ')
    .replaceAll(mappedToNothing, '')
    .normalize('NFKC')
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function untrusted(why: string): SallyportError {
  return new SallyportError('upstream-login', `SCRAM login at the resource: ${why}`, {
    clientMessage: 'the resource could not be logged in to',
    hint: 'The operator can see the cause in the log.',
  })
}
