/** One channel of a connection (RFC 4254, chapter 5): its two windows, and what waits for the peer's. */
import { SallyportError } from '../../kit/errors.ts'
import { sshString, sshU32 } from '../../kit/ssh-wire.ts'
import { message, messages, sshBoolean, windowBytes } from '../wire.ts'
import type { Transport } from './transport.ts'

export interface ChannelHandlers {
  /** `extended` 1 is standard error. Call `consumed` when the bytes have gone on. */
  data(bytes: Buffer, extended: number): void
  eof(): void
  /** Once, also when the connection is lost. */
  closed(): void
  /** A request that wants a reply gets one by `reply`, in the order of requests. */
  request(type: string, wantsReply: boolean, payload: Buffer): void
  /** What was written has left, after a `write` that returned false. */
  drained(): void
}

interface Chunk {
  readonly bytes: Buffer
  readonly extended: number
}
type Waiting = Chunk | (() => void)

/** Requests of a peer that it has no answer to yet. */
const repliesMax = 1_000
/** Smaller chunks are put together where they wait: otherwise keeping them costs many times what they hold. */
const smallBytes = 1024
const blockBytes = 16 * 1024

export class Channel {
  readonly localId: number
  readonly remoteId: number
  handlers: ChannelHandlers
  readonly #transport: Transport
  readonly #packetBytesMax: number
  readonly #forget: () => void
  #remoteWindow: number
  #localWindow = windowBytes
  /** Consumed, and not yet granted again. */
  #credit = 0
  #waiting: Waiting[] = []
  /** Small chunks that wait as one. */
  #block: { readonly bytes: Buffer; used: number; chunk: Chunk } | undefined
  #writerWaits = false
  #eofSent = false
  #closeSent = false
  #closeReceived = false
  #over = false
  /** Our requests that want a reply, in order. */
  #asked: ((granted: boolean) => void)[] = []
  /** The peer's: each with its answer, once there is one. */
  #answers: { granted: boolean | undefined }[] = []

  constructor(options: {
    transport: Transport
    localId: number
    remoteId: number
    remoteWindow: number
    packetBytesMax: number
    handlers: ChannelHandlers
    forget: () => void
  }) {
    this.#transport = options.transport
    this.localId = options.localId
    this.remoteId = options.remoteId
    this.#remoteWindow = options.remoteWindow
    // A peer that takes less than a keystroke at once takes nothing.
    if (options.packetBytesMax < 1) throw violation('a packet size of nothing')
    this.#packetBytesMax = Math.min(options.packetBytesMax, 32 * 1024)
    this.handlers = options.handlers
    this.#forget = options.forget
  }

  get isOver(): boolean {
    return this.#over || this.#closeSent
  }

  /** Bytes that wait for the peer's window. */
  get waitingBytes(): number {
    let bytes = 0
    for (const each of this.#waiting) if (typeof each !== 'function') bytes += each.bytes.length
    return bytes
  }

  /** False: write no more until `drained`. The bytes must not be changed afterwards. */
  write(bytes: Buffer, extended = 0): boolean {
    if (this.isOver || this.#eofSent) return true
    let start = 0
    if (this.#waiting.length === 0) start = this.#sendNow(bytes, extended)
    if (start < bytes.length) this.#wait(start === 0 ? bytes : bytes.subarray(start), extended)
    if (this.#waiting.length === 0 && !this.#transport.isCongested) return true
    this.#writerWaits = true
    return false
  }

  /** After everything that was written before. */
  eof(): void {
    this.#inOrder(() => {
      if (this.#eofSent || this.isOver) return
      this.#eofSent = true
      this.#transport.send(message(messages.channelEof, sshU32(this.remoteId)))
    })
  }

  /** After everything that was written before. */
  close(): void {
    this.#inOrder(() => this.closeNow())
  }

  /** At once; what waits is dropped. */
  closeNow(): void {
    this.dropWaiting()
    if (this.isOver) return
    this.#closeSent = true
    this.#transport.send(message(messages.channelClose, sshU32(this.remoteId)))
    if (this.#closeReceived) this.end()
  }

  /** Drops what waits for the peer's window, so that what is said next comes through if anything does. */
  dropWaiting(): void {
    this.#waiting = []
    if (!this.#writerWaits) return
    this.#writerWaits = false
    this.handlers.drained()
  }

  /** Asks at once, whatever waits. `answered` makes it a request that wants a reply. */
  request(type: string, payload: Buffer, answered?: (granted: boolean) => void): void {
    if (this.isOver) {
      answered?.(false)
      return
    }
    if (answered !== undefined) this.#asked.push(answered)
    const fields = [sshU32(this.remoteId), sshString(type), sshBoolean(answered !== undefined)]
    this.#transport.send(message(messages.channelRequest, ...fields, payload))
  }

  /** A request that wants no reply, after everything that was written before. */
  requestInOrder(type: string, payload: Buffer): void {
    this.#inOrder(() => this.request(type, payload))
  }

  /** Keeps the place of an answer: answers go out in the order of their requests. */
  reserveReply(): (granted: boolean) => void {
    if (this.#answers.length >= repliesMax) throw violation('too many requests without an answer')
    const answer: { granted: boolean | undefined } = { granted: undefined }
    this.#answers.push(answer)
    return (granted) => {
      answer.granted ??= granted
      this.#sendAnswers()
    }
  }

  /** So many bytes of the peer's have gone on: it may send more. */
  consumed(bytes: number): void {
    this.#credit += bytes
    if (this.#credit < windowBytes / 2 || this.isOver) return
    const credit = this.#credit
    this.#credit = 0
    this.#localWindow += credit
    this.#transport.send(
      message(messages.channelWindowAdjust, sshU32(this.remoteId), sshU32(credit)),
    )
  }

  // What the connection hands on.

  received(bytes: Buffer, extended: number): void {
    this.#localWindow -= bytes.length
    if (this.#localWindow < 0) throw violation('more data than the window holds')
    // Nothing in a packet takes nothing from the window: there would be no end to them.
    if (!this.isOver && bytes.length > 0) this.handlers.data(bytes, extended)
  }

  receivedWindow(bytes: number): void {
    this.#remoteWindow += bytes
    if (this.#remoteWindow > 0xffff_ffff) throw violation('a window of more than 4 GiB')
    this.flush()
  }

  receivedReply(granted: boolean): void {
    const answered = this.#asked.shift()
    if (answered === undefined) throw violation('an answer that nobody waits for')
    answered(granted)
  }

  receivedClose(): void {
    if (this.#closeReceived) throw violation('a channel closed twice')
    this.#closeReceived = true
    this.handlers.closed()
    if (this.#closeSent) this.end()
  }

  /** The channel is gone, or its connection. */
  end(): void {
    if (this.#over) return
    this.#over = true
    this.dropWaiting()
    this.#forget()
    for (const answered of this.#asked.splice(0)) answered(false)
    if (!this.#closeReceived) {
      this.#closeReceived = true
      this.handlers.closed()
    }
  }

  /** Sends what the window lets through. */
  flush(): void {
    let sent = 0
    for (const each of this.#waiting) {
      if (this.isOver) return
      if (typeof each === 'function') {
        sent++
        each()
        continue
      }
      const start = this.#sendNow(each.bytes, each.extended)
      if (start < each.bytes.length) {
        this.#waiting[sent] = { bytes: each.bytes.subarray(start), extended: each.extended }
        break
      }
      sent++
    }
    this.#waiting.splice(0, sent)
    if (!this.#writerWaits || this.#waiting.length > 0 || this.#transport.isCongested) return
    this.#writerWaits = false
    this.handlers.drained()
  }

  #wait(bytes: Buffer, extended: number): void {
    if (bytes.length >= smallBytes) {
      this.#waiting.push({ bytes, extended })
      return
    }
    let block = this.#block
    const isLast = block !== undefined && this.#waiting.at(-1) === block.chunk
    if (isLast && block!.chunk.extended === extended && block!.used + bytes.length <= blockBytes) {
      this.#waiting.pop()
    } else {
      block = { bytes: Buffer.allocUnsafe(blockBytes), used: 0, chunk: { bytes, extended } }
      this.#block = block
    }
    block!.used += bytes.copy(block!.bytes, block!.used)
    block!.chunk = { bytes: block!.bytes.subarray(0, block!.used), extended }
    this.#waiting.push(block!.chunk)
  }

  #inOrder(run: () => void): void {
    if (this.#waiting.length === 0) run()
    else this.#waiting.push(run)
  }

  /** How many bytes of the chunk have gone. */
  #sendNow(bytes: Buffer, extended: number): number {
    const end = Math.min(bytes.length, this.#remoteWindow)
    for (let start = 0; start < end;) {
      const next = Math.min(end, start + this.#packetBytesMax)
      this.#transport.sendData(this.remoteId, extended, bytes, start, next)
      start = next
    }
    this.#remoteWindow -= end
    return end
  }

  #sendAnswers(): void {
    while (this.#answers.length > 0 && this.#answers[0]!.granted !== undefined) {
      const { granted } = this.#answers.shift()!
      if (this.isOver) continue
      const type = granted === true ? messages.channelSuccess : messages.channelFailure
      this.#transport.send(message(type, sshU32(this.remoteId)))
    }
  }
}

function violation(what: string): SallyportError {
  return new SallyportError('protocol-violation', `SSH channel: ${what}`, {
    clientMessage: `protocol error: ${what}`,
  })
}
