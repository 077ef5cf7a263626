/**
 * Who is there (RFC 4252): keys and certificates, or a sign-in that the client waits for. The gate judges; nothing is compared here.
 */
import type { Evidence, Gate, Host, Identity, SignInPrompt } from '../../engine.ts'
import { ByteReader } from '../../kit/byte-reader.ts'
import type { Timer } from '../../kit/clock.ts'
import { SallyportError, toSallyportError } from '../../kit/errors.ts'
import { unwrapSshSignature } from '../../kit/ssh-signature.ts'
import { readSshString, readSshText, sshString } from '../../kit/ssh-wire.ts'
import { message, messages, userauthBanner, userauthFailure, userauthText } from '../wire.ts'
import { plainAlgorithm } from '../wire/host-key.ts'
import type { Transport } from '../wire/transport.ts'

export interface AuthenticationOptions {
  readonly transport: Transport
  readonly gate: Gate
  readonly host: Host
  readonly remoteAddress: string
  /** Whoever came through the jump: nothing more is asked. */
  readonly inherited: Identity | undefined
  /** The client was told that it is in. */
  done(user: string, identity: Identity): void
}

const methods = ['publickey', 'keyboard-interactive']
const userBytesMax = 255
const keyBytesMax = 16 * 1024
/** Requests that came while one was being decided. */
const waitingMax = 16
/** The longest that a client may wait for its sign-in, whatever the prompt says. */
const signInMsMax = 15 * 60_000

export class Authentication {
  readonly #options: AuthenticationOptions
  #service = false
  #user: string | undefined
  #attempts = 0
  #busy = false
  #waiting: [number, Buffer][] = []
  #over = false
  #deadline: Timer
  #signIn: AbortController | undefined
  readonly #told = new Set<string>()

  constructor(options: AuthenticationOptions) {
    this.#options = options
    this.#deadline = this.#armDeadline(options.host.limits.handshakeMs)
  }

  message(type: number, payload: Buffer): void {
    if (this.#over) return
    if (this.#busy) {
      // RFC 4252, 5.1: another request takes the place of one that waits for the person.
      if (this.#signIn !== undefined && type === messages.userauthRequest) this.#signIn.abort()
      if (this.#waiting.length >= waitingMax) throw violation('too many requests at once')
      if (type !== messages.userauthInfoResponse) this.#waiting.push([type, payload])
      return
    }
    switch (type) {
      case messages.serviceRequest:
        this.#grantUserauth(payload)
        break
      case messages.userauthRequest:
        this.#request(payload)
        break
      case messages.userauthInfoResponse:
        break
      default:
        throw violation(`message ${type} before the end of authentication`)
    }
  }

  /** The connection is over. */
  cancel(): void {
    this.#over = true
    this.#deadline.cancel()
    this.#signIn?.abort()
  }

  #grantUserauth(payload: Buffer): void {
    const name = readSshText(new ByteReader(payload, 1), 64)
    if (name !== 'ssh-userauth' || this.#service) throw violation('that service')
    this.#service = true
    this.#options.transport.send(message(messages.serviceAccept, sshString(name)))
  }

  #request(payload: Buffer): void {
    if (!this.#service) throw violation('authentication before its service')
    const reader = new ByteReader(payload, 1)
    const user = readSshString(reader, userBytesMax).toString('utf8')
    const wanted = readSshText(reader, 64)
    const method = readSshText(reader, 64)
    if (wanted !== 'ssh-connection') throw violation('that service')
    // What the gate was asked for one name must not come to count for another.
    if (this.#user !== undefined && this.#user !== user) throw violation('another user name')
    this.#user = user
    if (++this.#attempts > this.#options.host.limits.authAttemptsMax) {
      throw new SallyportError('limit-reached', 'too many attempts to authenticate', {
        clientMessage:
          'too many keys were tried; name the right one with -i and -o IdentitiesOnly=yes',
      })
    }
    const { inherited } = this.#options
    if (inherited !== undefined) {
      this.#succeed(inherited)
      return
    }
    switch (method) {
      case 'publickey':
        this.#run(this.#publicKey(payload, reader))
        break
      case 'keyboard-interactive':
        this.#run(this.#interactive())
        break
      default:
        this.#fail()
    }
  }

  #run(deciding: Promise<void>): void {
    this.#busy = true
    deciding
      .catch((error: unknown) => this.#refuse(error))
      .finally(() => {
        this.#busy = false
        this.#next()
      })
  }

  #next(): void {
    try {
      while (!this.#busy && !this.#over && this.#waiting.length > 0) {
        const [type, payload] = this.#waiting.shift()!
        this.message(type, payload)
      }
    } catch (error) {
      this.#end(toSallyportError(error))
    }
  }

  async #publicKey(payload: Buffer, reader: ByteReader): Promise<void> {
    const { gate, transport, remoteAddress } = this.#options
    const isSigned = reader.u8() !== 0
    const algorithm = readSshText(reader, 64)
    const publicKey = readSshString(reader, keyBytesMax)
    if (!isSigned) {
      const isKnown = await gate.recognises(publicKey)
      if (this.#over) return
      if (!isKnown) this.#fail()
      else {
        const fields = [sshString(algorithm), sshString(publicKey)]
        transport.send(message(messages.userauthPkOk, ...fields))
      }
      return
    }
    const signedEnd = reader.offset
    const wrapped = readSshString(reader, keyBytesMax)
    const given = unwrapSshSignature(wrapped)
    // RFC 8332, 3.2: the algorithm of the request and that of the signature are one.
    if (given.algorithm !== plainAlgorithm(algorithm)) throw violation('that signature')
    const evidence: Evidence = {
      kind: 'ssh-key',
      publicKey,
      algorithm: given.algorithm,
      signed: Buffer.concat([sshString(transport.sessionId), payload.subarray(0, signedEnd)]),
      signature: given.signature,
    }
    this.#succeed(await gate.identify(evidence, remoteAddress))
  }

  async #interactive(): Promise<void> {
    const { gate, transport, host, remoteAddress } = this.#options
    const abort = new AbortController()
    this.#signIn = abort
    const show = (prompt: SignInPrompt): void => {
      if (this.#over || abort.signal.aborted) return
      const leftMs = Math.min(Math.max(0, prompt.expiresAtMs - host.clock.wallMs()), signInMsMax)
      this.#deadline.cancel()
      this.#deadline = this.#armDeadline(leftMs)
      transport.send(userauthText(signInText(prompt, leftMs)))
    }
    try {
      const identity = await gate.signIn(remoteAddress, show, abort.signal)
      if (abort.signal.aborted) identity[Symbol.dispose]()
      else this.#succeed(identity)
    } finally {
      this.#signIn = undefined
    }
  }

  #succeed(identity: Identity): void {
    if (this.#over) {
      if (identity !== this.#options.inherited) identity[Symbol.dispose]()
      return
    }
    this.#over = true
    this.#deadline.cancel()
    this.#options.transport.send(message(messages.userauthSuccess))
    this.#options.done(this.#user!, identity)
  }

  #fail(): void {
    this.#options.transport.send(userauthFailure(methods))
  }

  /** A way in that did not work; the client may try another. */
  #refuse(thrown: unknown): void {
    if (this.#over) return
    const error = toSallyportError(thrown)
    const { transport, host } = this.#options
    if (error.code === 'protocol-violation') {
      this.#end(error)
      return
    }
    host.log.info({ code: error.code, why: error.message }, 'authentication refused')
    const text = wordsOf(error)
    // A client may show each line that it gets: once is enough.
    if (this.#attempts > 0 && !this.#told.has(text)) {
      this.#told.add(text)
      transport.send(userauthBanner(`sallyport: ${text}\n`))
    }
    this.#fail()
  }

  #armDeadline(delayMs: number): Timer {
    return this.#options.host.clock.startTimer(delayMs, () =>
      this.#end(
        new SallyportError('handshake-timeout', 'the client did not authenticate in time', {
          clientMessage: 'signing in took too long',
          hint: 'Connect again.',
        }),
      ),
    )
  }

  #end(error: SallyportError): void {
    if (this.#over) return
    this.cancel()
    this.#options.host.log.info({ code: error.code, why: error.message }, 'connection refused')
    this.#options.transport.disconnect(2, wordsOf(error))
  }
}

/** What happened, and what to do: one line. */
export function wordsOf(error: SallyportError): string {
  const sentence = error.clientMessage.replace(/\.$/, '')
  return error.hint === undefined ? sentence : `${sentence}. ${error.hint}`
}

function signInText({ url, code, notice }: SignInPrompt, leftMs: number): string {
  const minutes = Math.max(1, Math.round(leftMs / 60_000))
  return [
    'Sallyport: sign in to go on.',
    ...(notice === undefined ? [] : [notice]),
    '',
    `    Open  ${url}`,
    `    Code  ${code}`,
    '',
    `Waiting for you, up to ${minutes} min; Ctrl-C stops.`,
    '',
  ].join('\n')
}

function violation(what: string): SallyportError {
  return new SallyportError('protocol-violation', `SSH authentication: unexpected ${what}`, {
    clientMessage: `protocol error: unexpected ${what}`,
  })
}
