import { randomBytes, verify } from 'node:crypto'
import { ByteReader } from '../protocols/kit/byte-reader.ts'
import type { Clock } from '../protocols/kit/clock.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import { parseSshPublicKey } from '../protocols/kit/ssh-public-key.ts'
import { parseSshCertificate, sshCertificateType } from '../protocols/kit/ssh-certificate.ts'
import { readSshString, sshString, sshU32, sshU64 } from '../protocols/kit/ssh-wire.ts'
import type { SshAuthority, SshAuthorityPurpose } from './ssh-authority.ts'

export interface IssuedSsh {
  /** The certificate's blob. */
  readonly certificate: Buffer
  /** Lower-case hexadecimal without leading zeros, as for X.509; ssh-keygen prints the same number in decimal. */
  readonly serial: string
  /** Unix milliseconds, whole seconds. */
  readonly notBeforeMs: number
  readonly expiresAtMs: number
}

/** What is about to be signed; the issuing functions fill it, each for its own kind. */
export interface SshCertificateContent {
  readonly kind: 'user' | 'host'
  /** The key to certify, a blob as a stranger sent it. */
  readonly publicKey: Buffer
  /** Whatever the logs of servers should say of it. */
  readonly keyId: string
  /** At least one: OpenSSH reads none as all. */
  readonly principals: readonly string[]
  readonly criticalOptions?: Readonly<Record<string, string>>
  /** Names of extensions without a value. */
  readonly extensions?: readonly string[]
  /** Marks it as of a demo. */
  readonly demo: boolean
  readonly clock: Clock
  /** Counted from now, milliseconds; at most `validForMsMax`. */
  readonly validForMs: number
  readonly validForMsMax: number
  /** Unix milliseconds: it ends by this moment, however long it is valid for. */
  readonly endsByMs?: number
  /** Unix milliseconds: it begins after this moment. For a holder whose earlier certificates count no more. */
  readonly beginsAfterMs?: number
}

/** In certificates that a demo's authority issued. Servers pass over extensions that they do not know. */
export const demoExtension = 'demo@sallyport'
/** Certificates begin a minute early, for clocks that are a little behind. */
export const earlyMs = 60_000
const userBit = { user: 1, host: 2 } as const

/**
 * Signs one OpenSSH certificate (PROTOCOL.certkeys) through the authority's `Signer`, which is the only way to its key.
 * @throws SallyportError `request-invalid` for a key that we do not take or a validity out of bounds, `config-invalid` for an authority
 *   of another purpose.
 */
export async function signSshCertificate(
  authority: SshAuthority,
  purpose: SshAuthorityPurpose,
  content: SshCertificateContent,
): Promise<IssuedSsh> {
  if (authority.purpose !== purpose) {
    throw new SallyportError(
      'config-invalid',
      `the authority ${authority.purpose} does not issue for ${purpose}`,
    )
  }
  if (content.principals.length === 0 || content.principals.includes('')) {
    throw new SallyportError('internal', 'a certificate without a principal is good for anybody')
  }
  const subject = openKey(content.publicKey)
  const validity = validityOf(content)
  const serial = randomSerial()
  const { criticalOptions = {}, extensions = [] } = content
  const allExtensions = content.demo ? [...extensions, demoExtension] : extensions
  const reader = new ByteReader(content.publicKey)
  readSshString(reader, 64)
  const body = Buffer.concat([
    sshString(sshCertificateType(subject.type)),
    sshString(randomBytes(32)),
    reader.bytes(reader.remaining),
    sshU64(serial),
    sshU32(userBit[content.kind]),
    sshString(content.keyId),
    sshString(Buffer.concat(content.principals.map(sshString))),
    sshU64(BigInt(validity.notBeforeMs / 1000)),
    sshU64(BigInt(validity.expiresAtMs / 1000)),
    sshString(options(Object.entries(criticalOptions))),
    sshString(options(allExtensions.map((name) => [name, undefined]))),
    sshString(''),
    sshString(authority.publicKey),
  ])
  const { signer } = authority
  const value = await signer.sign(body)
  if (!verify(null, body, signer.publicKey, value)) {
    throw new SallyportError('internal', 'the signer did not sign what it was asked to')
  }
  const signature = Buffer.concat([sshString('ssh-ed25519'), sshString(value)])
  const certificate = Buffer.concat([body, sshString(signature)])
  // What our own reader refuses must not leave this place: a name that is too long, a control character.
  parseSshCertificate(certificate)
  return { certificate, serial: serial.toString(16), ...validity }
}

function openKey(blob: Buffer) {
  try {
    return parseSshPublicKey(blob)
  } catch (error) {
    const why = error instanceof SallyportError ? error.clientMessage : String(error)
    throw new SallyportError('request-invalid', `no certificate for this key: ${why}`, {
      clientMessage: why,
      hint: 'keys that are taken: ssh-ed25519, ecdsa-sha2-nistp256/384/521, sk-…@openssh.com, ssh-rsa from 2048 bits',
      cause: error,
    })
  }
}

function validityOf(content: SshCertificateContent) {
  const { validForMs, validForMsMax, clock, beginsAfterMs } = content
  if (!Number.isFinite(validForMs) || validForMs <= 0 || validForMs > validForMsMax) {
    throw new SallyportError(
      'request-invalid',
      `a certificate of this kind is valid for at most ${validForMsMax} ms, not ${validForMs}`,
    )
  }
  const nowMs = clock.wallMs()
  return {
    notBeforeMs: Math.max(
      wholeSeconds(nowMs - earlyMs),
      beginsAfterMs === undefined ? 0 : wholeSeconds(beginsAfterMs) + 1000,
    ),
    expiresAtMs: wholeSeconds(Math.min(nowMs + validForMs, content.endsByMs ?? Infinity)),
  }
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000
}

/** 64 bits, not zero: zero is what certificates without a serial have. */
function randomSerial(): bigint {
  const serial = randomBytes(8).readBigUInt64BE()
  return serial === 0n ? randomSerial() : serial
}

/** Ordered by name; a value is a string in a string. */
function options(entries: readonly (readonly [string, string | undefined])[]): Buffer {
  const sorted = entries.toSorted(([a], [b]) => (a < b ? -1 : 1))
  return Buffer.concat(
    sorted.flatMap(([name, value]) => [
      sshString(name),
      sshString(value === undefined ? '' : sshString(value)),
    ]),
  )
}
