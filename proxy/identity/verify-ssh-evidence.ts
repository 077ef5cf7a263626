/** Who shows an SSH key: by a certificate of our authority, or because it is registered; and only with the key's own signature. */
import { verifySshUserCertificate } from '../../certs/verify-ssh-certificate.ts'
import type { Evidence } from '../../protocols/engine.ts'
import { ByteReader } from '../../protocols/kit/byte-reader.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { isSshCertificate } from '../../protocols/kit/ssh-certificate.ts'
import { sshFingerprint, type SshPublicKey } from '../../protocols/kit/ssh-public-key.ts'
import { verifySshSignature } from '../../protocols/kit/ssh-signature.ts'
import { readSshString, requireSshEnd } from '../../protocols/kit/ssh-wire.ts'
import type { ControlView } from '../grants/control-view.ts'
import type { Identity } from './identify.ts'

export type SshKeyEvidence = Extract<Evidence, { kind: 'ssh-key' }>

export interface SshEvidenceOptions {
  readonly realm: string
  readonly demo: boolean
  readonly view: Pick<ControlView, 'sshAuthorities' | 'sshKey'>
  /** Unix ms. */
  readonly atMs: number
  readonly remoteAddress: string
}

const userAuthRequest = 50
const fieldBytesMax = 65_536

/** @throws SallyportError `evidence-invalid`, `evidence-expired` or `demo-in-production`. */
export function verifySshEvidence(evidence: SshKeyEvidence, options: SshEvidenceOptions): Identity {
  const { publicKey: blob, algorithm, signed, signature } = evidence
  const found = isSshCertificate(blob) ? ofCertificate(blob, options) : ofKey(blob, options)
  const { publicKey, identity } = found
  if (!isLogin(signed, blob)) throw refused('what was signed is no login with this key')
  if (!verifySshSignature({ publicKey, algorithm, signed, signature })) {
    throw refused('the signature is not the key’s')
  }
  return identity
}

interface Found {
  readonly identity: Identity
  readonly publicKey: SshPublicKey
}

function ofCertificate(blob: Buffer, options: SshEvidenceOptions): Found {
  const { view, atMs, remoteAddress } = options
  const authorities = view.sshAuthorities
  const facts = verifySshUserCertificate(blob, { authorities, atMs, remoteAddress })
  if (facts.realm !== options.realm) throw refused(`a certificate of realm ${facts.realm}`)
  if (facts.demo !== options.demo) {
    throw new SallyportError('demo-in-production', 'an SSH certificate of a demo, or v.v.', {
      clientMessage: 'this certificate is not for this installation',
      hint: 'sign in again: sally login',
    })
  }
  const { personId, email, serial, issuedAtMs, expiresAtMs, subject } = facts
  return {
    identity: { personId, email, kind: 'certificate', serial, issuedAtMs, expiresAtMs },
    publicKey: { ...subject, blob },
  }
}

function ofKey(blob: Buffer, { view, atMs }: SshEvidenceOptions): Found {
  const fingerprint = sshFingerprint(blob)
  const key = view.sshKey(fingerprint)
  if (key === undefined || !key.publicKey.blob.equals(blob)) {
    throw refused(`${fingerprint} is not registered`)
  }
  const { personId, personEmail: email, addedAtMs, expiresAtMs, publicKey } = key
  if (expiresAtMs <= atMs) {
    throw new SallyportError('evidence-expired', `the key ${fingerprint} was for less time`, {
      clientMessage: 'your SSH key was registered for a time that is over',
      hint: 'register it again: sally ssh-key add FILE',
    })
  }
  return {
    identity: {
      ...{ personId, email, kind: 'key', serial: fingerprint },
      ...{ issuedAtMs: addedAtMs, expiresAtMs },
    },
    publicKey,
  }
}

/**
 * Whether these are the bytes that a client signs to log in with this key (RFC 4252, chapter 7), so that nothing else that somebody had it
 * sign counts here. Which connection they are of, the engine knows: it puts the session's identifier in front.
 */
function isLogin(signed: Buffer, blob: Buffer): boolean {
  try {
    const reader = new ByteReader(signed)
    const field = (): Buffer => readSshString(reader, fieldBytesMax)
    const session = field()
    const type = reader.u8()
    field() // the login name: the engine's
    const [service, method] = [field().toString('latin1'), field().toString('latin1')]
    const hasSignature = reader.u8()
    field() // the algorithm; the signature is checked for the key's own
    const key = field()
    requireSshEnd(reader)
    return (
      session.length >= 20 &&
      type === userAuthRequest &&
      service === 'ssh-connection' &&
      method === 'publickey' &&
      hasSignature === 1 &&
      key.equals(blob)
    )
  } catch {
    return false
  }
}

/** One sentence for everything that is not so: the log says which. */
function refused(why: string): SallyportError {
  return new SallyportError('evidence-invalid', `SSH key refused: ${why}`, {
    clientMessage: 'your SSH key was refused',
    hint: 'sign in: sally login; or register the key: sally ssh-key add FILE',
  })
}
