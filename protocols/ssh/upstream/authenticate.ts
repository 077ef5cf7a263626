import { SallyportError } from '../../kit/errors.ts'
import { sshString } from '../../kit/ssh-wire.ts'
import { message, messages } from '../wire.ts'
import type { Transport } from '../wire/transport.ts'
import type { SignIn } from './sign-in.ts'

export interface Authenticating {
  /** A message of the server's. Throws `upstream-login` when nothing is left to try. */
  message(type: number, payload: Buffer): void
  /** Forgets what was signed in with. */
  drop(): void
}

/** Questions and texts before an answer. */
const messagesMax = 100

/** Signs in (RFC 4252), one request after the other until one is taken; then `done` is called in the same turn. */
export function authenticate(
  transport: Transport,
  signIn: SignIn,
  done: () => void,
): Authenticating {
  let left: Buffer[] = []
  let seen = 0
  const next = (): void => {
    const request = left.shift()
    if (request === undefined) throw refused('it takes none of what the proxy has')
    transport.send(request)
  }
  transport.send(message(messages.serviceRequest, sshString('ssh-userauth')))
  return {
    message(type, payload) {
      if (++seen > messagesMax) throw refused('it does not come to an end')
      switch (type) {
        case messages.serviceAccept:
          left = signIn.requests(transport)
          next()
          break
        case messages.userauthSuccess:
          signIn.drop()
          done()
          break
        case messages.userauthFailure:
          next()
          break
        case messages.userauthInfoRequest:
          if (signIn.answer === undefined) throw refused('it asks for what nobody can answer')
          transport.send(signIn.answer(payload))
          break
        case messages.userauthBanner:
          break
        default:
          throw refused(`message ${type} before the end of the login`)
      }
    },
    drop: () => signIn.drop(),
  }
}

function refused(why: string): SallyportError {
  return new SallyportError('upstream-login', `the login at the resource: ${why}`, {
    clientMessage: 'the resource did not take the login of the proxy',
    hint: 'Tell the operator; the cause is in the log.',
  })
}
