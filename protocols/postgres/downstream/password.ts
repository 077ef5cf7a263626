/**
 * A client without a certificate is asked for a password, in the clear inside TLS: there goes a one-time token.
 *
 * Source: PostgreSQL documentation, "Message Formats": AuthenticationCleartextPassword, PasswordMessage.
 */
import type { Evidence } from '../../engine.ts'
import { SallyportError } from '../../kit/errors.ts'
import { smallMessageBytesMax } from '../wire.ts'
import type { Inbox } from '../wire/inbox.ts'

const passwordMessage = 0x70 // p
const headBytes = 5

/** Takes the answer to AuthenticationCleartextPassword. Rejects with `protocol-violation` or `frame-too-large`. */
export async function takePassword(inbox: Inbox): Promise<Evidence> {
  const message = await inbox.take(measure)
  const body = message.subarray(headBytes)
  if (body.indexOf(0) !== body.length - 1) throw malformed('not one text')
  const token = body.toString('utf8', 0, body.length - 1)
  // Both were in the chunk that came; the token has no other copy once it is a text.
  message.fill(0)
  return token === '' ? { kind: 'none' } : { kind: 'token', token }
}

function measure(buffer: Buffer): number | undefined {
  if (buffer.length === 0) return undefined
  if (buffer[0] !== passwordMessage) throw malformed(`type ${buffer[0]}`)
  if (buffer.length < headBytes) return undefined
  const length = buffer.readUInt32BE(1)
  if (length < 5) throw malformed(`length ${length}`)
  if (length > smallMessageBytesMax) {
    throw new SallyportError('frame-too-large', `a password of ${length} bytes`, {
      clientMessage: 'the password is too long',
    })
  }
  return 1 + length
}

function malformed(what: string): SallyportError {
  return new SallyportError('protocol-violation', `password message: ${what}`, {
    clientMessage: 'expected a password message',
    hint: 'This is a mistake of the client program.',
  })
}
