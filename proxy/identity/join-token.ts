import { SallyportError } from '../../protocols/kit/errors.ts'

const pattern = /^sallyport-join\.([A-Za-z0-9_-]{16,256})\.([0-9a-f]{64}|[A-Za-z0-9_-]{43})$/

export interface JoinToken {
  /** The whole text, as control wants it back. */
  readonly text: string
  /** SHA-256 of control's authority (DER): 32 bytes. */
  readonly pin: Buffer
}

/** Reads `sallyport-join.<secret>.<pin>`; the pin in hex or base64url. Throws `join-token-invalid`. */
export function parseJoinToken(text: string): JoinToken {
  const match = pattern.exec(text.trim())
  if (match === null) {
    throw new SallyportError('join-token-invalid', 'the join token is not one', {
      clientMessage: 'the join token is incomplete or not a join token',
      hint: 'make a new one on a machine that is signed in: sally proxy join-token',
    })
  }
  const pin = match[2]!
  return { text: match[0], pin: Buffer.from(pin, pin.length === 64 ? 'hex' : 'base64url') }
}
