/**
 * The resource's side up to the end of the login: TLS as the resource demands, start-up with the account, and the
 * secret, borrowed for exactly as long as the login takes.
 *
 * Source: PostgreSQL documentation, "Message Flow": "Start-up", "SASL Authentication".
 */
import type { Socket } from 'node:net'
import type { Host } from '../engine.ts'
import { SallyportError, toSallyportError } from '../kit/errors.ts'
import type { Session } from '../session.ts'
import { authenticate } from './upstream/authenticate.ts'
import type { LoginReader } from './upstream/login-reader.ts'
import { readLogin } from './upstream/login-reader.ts'
import { refusedLogin } from './upstream/refused.ts'
import { encrypt } from './upstream/tls.ts'
import { backend } from './wire.ts'
import { Inbox } from './wire/inbox.ts'
import { startupPacket } from './wire/startup.ts'

export interface LoggedIn {
  /** Paused; ready for the first question. */
  readonly socket: Socket
  /** The TCP socket below it. */
  readonly base: Socket
  /** ParameterStatus and notices of the login, to be passed on as they are. */
  readonly greetings: readonly Buffer[]
  /** Settings as reported. */
  readonly parameters: ReadonlyMap<string, string>
  /** The server's own cancel key, which never leaves. */
  readonly cancelKey: Buffer | undefined
}

/** Parameters of the client's start-up that are ours, or not for the server. */
const ownParameters = new Set(['user', 'replication'])

/**
 * Dials, encrypts and logs in. Ends early when `signal` aborts. Rejects with `upstream-unreachable`, `upstream-tls`,
 * `upstream-login`, `secret-unavailable` or `secret-not-bound`; what the client may read never names the account.
 */
export async function logIn(
  session: Session,
  parameters: ReadonlyMap<string, string>,
  host: Host,
  signal: AbortSignal,
): Promise<LoggedIn> {
  let fail: (error: Error) => void = () => {}
  let ended: Error | undefined
  const end = (error: Error): void => {
    ended ??= error
    fail(error)
  }
  const onAbort = (): void => end(toSallyportError(signal.reason))
  signal.addEventListener('abort', onAbort, { once: true })
  const deadline = host.clock.startTimer(host.limits.upstreamConnectMs, () =>
    end(
      new SallyportError('upstream-unreachable', 'the login at the resource took too long', {
        clientMessage: 'the resource did not answer in time',
        hint: 'Try again; if it happens again, tell the operator.',
      }),
    ),
  )
  const abort = (how: (error: Error) => void): void => {
    fail = how
    if (ended !== undefined) how(ended)
  }
  try {
    const base = await Promise.race([
      session.connect(),
      new Promise<never>((_resolve, reject) => abort(reject)),
    ])
    base.setNoDelay(true)
    base.on('error', () => {})
    const socket = await encrypt(base, session.upstream, abort)
    const inbox = new Inbox(socket)
    abort((error) => inbox.fail(error))
    return await startSession(session, parameters, socket, base, inbox, host)
  } catch (error) {
    throw ended ?? error
  } finally {
    deadline.cancel()
    signal.removeEventListener('abort', onAbort)
  }
}

async function startSession(
  session: Session,
  parameters: ReadonlyMap<string, string>,
  socket: Socket,
  base: Socket,
  inbox: Inbox,
  host: Host,
): Promise<LoggedIn> {
  const credential = await session.borrow()
  const reader = readLogin(inbox, host.limits)
  try {
    const forwarded = new Map([['user', credential.account]])
    for (const [name, value] of parameters) {
      if (!ownParameters.has(name) && !name.startsWith('_pq_.')) forwarded.set(name, value)
    }
    socket.write(startupPacket(forwarded))
    const verified = session.upstream.tls === 'verify-full'
    await authenticate(socket, reader, credential, verified)
  } finally {
    credential.secret.drop()
  }
  return await readSettings(reader, socket, base, inbox)
}

/** From AuthenticationOk to the first ReadyForQuery. */
async function readSettings(
  reader: LoginReader,
  socket: Socket,
  base: Socket,
  inbox: Inbox,
): Promise<LoggedIn> {
  const greetings: Buffer[] = []
  const parameters = new Map<string, string>()
  let cancelKey: Buffer | undefined
  for (;;) {
    const { type, whole } = await reader.next()
    switch (type) {
      case backend.parameterStatus: {
        const [name, value] = whole.toString('utf8', 5).split('\0')
        if (name !== undefined && value !== undefined) parameters.set(name, value)
        greetings.push(whole)
        break
      }
      case backend.notice:
        greetings.push(whole)
        break
      case backend.backendKey:
        cancelKey = Buffer.from(whole.subarray(5))
        break
      case backend.readyForQuery:
        inbox.release()
        return { socket, base, greetings, parameters, cancelKey }
      case backend.error:
        throw refusedLogin(whole)
      default:
        throw new SallyportError(
          'upstream-login',
          `unexpected message 0x${type.toString(16)} at login`,
          {
            clientMessage: 'the resource answered the login in a way nobody expects',
            hint: 'The operator can see the cause in the log.',
          },
        )
    }
  }
}
