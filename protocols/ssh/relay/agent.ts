/**
 * A forwarded agent (PROTOCOL.agent of OpenSSH, draft-miller-ssh-agent), as the resource sees it: it may list keys and have them sign, and it does
 * not see the keys that sign in to Sallyport. Whoever owns the resource could otherwise become whoever is logged in there.
 */
import type { Gate } from '../../engine.ts'
import { ByteReader } from '../../kit/byte-reader.ts'
import { isSshCertificate, parseSshCertificate } from '../../kit/ssh-certificate.ts'
import { parseSshPublicKey } from '../../kit/ssh-public-key.ts'
import { readSshString, sshString, sshU32 } from '../../kit/ssh-wire.ts'
import type { Relayed, RelayedChannel } from '../relay.ts'
import { messages, openFailures } from '../wire.ts'
import type { Channel, ChannelHandlers } from '../wire/channel.ts'
import type { Opening } from '../wire/connection.ts'
import { AgentFrames } from './agent-frames.ts'
import { ChannelRecord } from './channel-record.ts'

const failure = Buffer.of(5)
const requestIdentities = 11
const identitiesAnswer = 12
const signRequest = 13
const keysMax = 1_000
const blobBytesMax = 64 * 1024
const requestsMax = 64
const unreadBytesMax = 1024 * 1024

interface Key {
  readonly blob: Buffer
  readonly comment: Buffer
}

export class AgentChannel implements RelayedChannel {
  readonly #relayed: Relayed
  readonly #gate: Gate
  readonly #over: () => void
  readonly #record: ChannelRecord
  readonly #requests: Buffer[] = []
  /** What the resource may have sign, once it was worked out. */
  #allowed: Set<string> | undefined
  #client: Channel | undefined
  #upstream: Channel | undefined
  #answered: ((answer: Buffer) => void) | undefined
  #busy = false
  #isOver = false
  readonly #questions = new AgentFrames()
  readonly #answers = new AgentFrames()

  constructor(relayed: Relayed, gate: Gate, opening: Opening, over: () => void) {
    this.#relayed = relayed
    this.#gate = gate
    this.#over = over
    this.#record = new ChannelRecord(relayed, {
      kind: 'channel',
      ...{ operation: 'agent', channel: 0, target: 'agent' },
    })
    relayed.downstream.open(opening.type, Buffer.alloc(0), {
      handlers: this.#fromClient,
      opened: (channel) => {
        this.#client = channel
        this.#upstream = opening.accept(this.#fromUpstream)
      },
      refused: () => {
        opening.refuse(openFailures.connectFailed, 'the client has no agent')
        this.#end('error')
      },
    })
  }

  notify(): boolean {
    return false
  }

  farewell(): void {
    this.#end('cancelled')
  }

  hangUp(): void {
    this.#end('cancelled')
  }

  kill(): void {
    this.#end('cancelled')
  }

  abandon(): void {
    this.#end('cancelled')
  }

  readonly #fromUpstream: ChannelHandlers = {
    data: (bytes) => {
      this.#record.outcome.bytesDown += bytes.length
      this.#upstream?.consumed(bytes.length)
      this.#relayed.guard(() => {
        this.#requests.push(...this.#questions.push(bytes))
        if (this.#requests.length > requestsMax) throw new Error('too many requests to the agent')
      })
      void this.#serve()
    },
    eof: () => this.#end('ok'),
    closed: () => this.#end('ok'),
    drained() {},
    request() {},
  }

  readonly #fromClient: ChannelHandlers = {
    data: (bytes) => {
      this.#record.outcome.bytesUp += bytes.length
      this.#client?.consumed(bytes.length)
      for (const answer of this.#answers.push(bytes)) {
        const answered = this.#answered
        this.#answered = undefined
        answered?.(answer)
      }
    },
    eof: () => this.#end('ok'),
    closed: () => this.#end('ok'),
    drained() {},
    request() {},
  }

  /** One request at a time, as an agent does. */
  async #serve(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    for (let request = this.#requests.shift(); request !== undefined && !this.#isOver;) {
      const answer = await this.#answer(request).catch(() => failure)
      this.#relayed.session.forwardCall(() => this.#say(sshString(answer)))
      request = this.#requests.shift()
    }
    this.#busy = false
  }

  #say(bytes: Buffer): void {
    const upstream = this.#upstream
    upstream?.write(bytes)
    // It asks, and reads no answers.
    if (upstream !== undefined && upstream.waitingBytes > unreadBytesMax) this.#end('error')
  }

  async #answer(request: Buffer): Promise<Buffer> {
    if (request[0] === requestIdentities) return identities(await this.#list())
    if (request[0] !== signRequest) return failure
    if (this.#allowed === undefined) await this.#list()
    const reader = new ByteReader(request, 1)
    const key = readSshString(reader, blobBytesMax)
    const data = readSshString(reader, blobBytesMax)
    if (this.#allowed?.has(key.toString('base64')) !== true) return failure
    // The same key may be certified elsewhere: what it would sign tells.
    const named = keyOfLogin(data)
    if (named !== undefined && (await this.#gate.recognises(named))) return failure
    return await this.#ask(request)
  }

  async #list(): Promise<Key[]> {
    const keys = readIdentities(await this.#ask(Buffer.of(requestIdentities)))
    const known = await Promise.all(keys.map(({ blob }) => this.#gate.recognises(blob)))
    const ours = keys.filter((_key, index) => known[index] === true)
    const shown = keys.filter(
      (key, index) => known[index] !== true && !ours.some((own) => isCertifiedBy(own, key)),
    )
    this.#allowed = new Set(shown.map(({ blob }) => blob.toString('base64')))
    return shown
  }

  #ask(request: Buffer): Promise<Buffer> {
    return new Promise((resolve) => {
      this.#answered = resolve
      const bytes = sshString(request)
      this.#relayed.session.countDownstream(bytes.length)
      this.#client?.write(bytes)
      if (this.#isOver) resolve(failure)
    })
  }

  #end(status: 'ok' | 'error' | 'cancelled'): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#answered?.(failure)
    this.#client?.closeNow()
    this.#upstream?.closeNow()
    this.#record.settle(status)
    this.#over()
  }
}

function readIdentities(answer: Buffer): Key[] {
  const reader = new ByteReader(answer)
  if (reader.u8() !== identitiesAnswer) return []
  const count = Math.min(reader.u32(), keysMax)
  return Array.from({ length: count }, () => ({
    blob: readSshString(reader, blobBytesMax),
    comment: readSshString(reader, blobBytesMax),
  }))
}

function identities(keys: readonly Key[]): Buffer {
  const fields = keys.flatMap(({ blob, comment }) => [sshString(blob), sshString(comment)])
  return Buffer.concat([Buffer.of(identitiesAnswer), sshU32(keys.length), ...fields])
}

/** Whether `own` is a certificate, of ours, for the key (or a certificate of the key) `other`: one private key signs for both. */
function isCertifiedBy(own: Key, other: Key): boolean {
  try {
    const subject = subjectOf(own.blob)
    return subject.equals(subjectOf(other.blob))
  } catch {
    return false
  }
}

function subjectOf(blob: Buffer) {
  return isSshCertificate(blob)
    ? parseSshCertificate(blob).subject.key
    : parseSshPublicKey(blob).key
}

/** The key that a request to log in names (RFC 4252, chapter 7, and OpenSSH's host-bound form); undefined if it is none. */
function keyOfLogin(data: Buffer): Buffer | undefined {
  try {
    const reader = new ByteReader(data)
    readSshString(reader, 1_024)
    if (reader.u8() !== messages.userauthRequest) return undefined
    for (let field = 0; field < 3; field++) readSshString(reader, 1_024)
    reader.u8()
    readSshString(reader, 1_024)
    return readSshString(reader, blobBytesMax)
  } catch {
    return undefined
  }
}
