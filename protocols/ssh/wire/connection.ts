/** The connection protocol (RFC 4254) over a transport that is authenticated: channels, global requests, keepalives. */
import { ByteReader } from '../../kit/byte-reader.ts'
import type { Clock, Timer } from '../../kit/clock.ts'
import { SallyportError } from '../../kit/errors.ts'
import { readSshString, readSshText, sshString, sshU32 } from '../../kit/ssh-wire.ts'
import {
  channelOpenFailure,
  message,
  messageBytesMax,
  messages,
  openFailures,
  packetBytesMax,
  sshBoolean,
  windowBytes,
} from '../wire.ts'
import { Channel, type ChannelHandlers } from './channel.ts'
import { runAll } from './run-all.ts'
import type { Transport } from './transport.ts'

/** What a peer wants to open. Exactly one of the two is to be called. */
export interface Opening {
  readonly type: string
  /** What is particular to the type. */
  readonly payload: Buffer
  accept(handlers: ChannelHandlers): Channel
  refuse(reason: number, text: string): void
}

export interface ConnectionHandlers {
  open(opening: Opening): void
  /** `answer` is to be called once; without a wanted reply it does nothing. */
  globalRequest(
    name: string,
    payload: Buffer,
    answer: (granted: boolean, payload?: Buffer) => void,
  ): void
  /** See `TransportHandlers`. */
  flooded?(isFlooded: boolean): void
}

export interface ConnectionOptions {
  readonly clock: Clock
  readonly channelsMax: number
  /** Between signs of life of the peer before it is asked for one. Milliseconds. */
  readonly keepaliveMs: number
}

export interface OpenRefused {
  readonly reason: number
  readonly text: string
}

interface Wanted {
  readonly handlers: ChannelHandlers
  opened(channel: Channel): void
  refused(why: OpenRefused): void
}

/** Questions for a sign of life that a peer leaves unanswered before it counts as gone. */
const keepalivesMax = 3
const typeBytesMax = 64
const globalRequestsMax = 1_000

export class Connection {
  readonly #transport: Transport
  readonly #handlers: ConnectionHandlers
  readonly #options: ConnectionOptions
  readonly #channels = new Map<number, Channel>()
  readonly #wanted = new Map<number, Wanted>()
  /** The peer's channels that nobody has accepted or refused. */
  #undecided = 0
  #nextId = 0
  #asked: ((granted: boolean, payload: Buffer) => void)[] = []
  #answers: { payload: Buffer | undefined; granted: boolean | undefined }[] = []
  #heardAtMs: number
  #unanswered = 0
  #timer: Timer | undefined
  #over = false

  constructor(transport: Transport, handlers: ConnectionHandlers, options: ConnectionOptions) {
    this.#transport = transport
    this.#handlers = handlers
    this.#options = options
    this.#heardAtMs = options.clock.monotonicMs()
    this.#armKeepalive()
  }

  get channels(): Iterable<Channel> {
    return this.#channels.values()
  }

  /** A message of 80 and above. Throws `protocol-violation`. */
  message(type: number, payload: Buffer): void {
    this.#heardAtMs = this.#options.clock.monotonicMs()
    this.#unanswered = 0
    if (payload.length > messageBytesMax && type !== messages.channelRequest) {
      throw violation(`message ${type} of ${payload.length} bytes`)
    }
    switch (type) {
      case messages.channelData:
        this.#data(payload, 5, 0)
        break
      case messages.channelExtendedData:
        this.#data(payload, 9, new ByteReader(payload, 5).u32())
        break
      case messages.channelWindowAdjust: {
        const reader = new ByteReader(payload, 1)
        this.#channel(reader.u32())?.receivedWindow(reader.u32())
        break
      }
      case messages.channelEof:
        this.#recipient(payload)?.handlers.eof()
        break
      case messages.channelClose:
        this.#recipient(payload)?.receivedClose()
        break
      case messages.channelRequest:
        this.#channelRequest(payload)
        break
      case messages.channelSuccess:
        this.#recipient(payload)?.receivedReply(true)
        break
      case messages.channelFailure:
        this.#recipient(payload)?.receivedReply(false)
        break
      case messages.channelOpen:
        this.#open(payload)
        break
      case messages.channelOpenConfirmation:
        this.#confirmed(payload)
        break
      case messages.channelOpenFailure:
        this.#refused(payload)
        break
      case messages.globalRequest:
        this.#globalRequest(payload)
        break
      case messages.requestSuccess:
        this.#asked.shift()?.(true, payload.subarray(1))
        break
      case messages.requestFailure:
        this.#asked.shift()?.(false, payload.subarray(1))
        break
      default:
        throw violation(`message ${type}`)
    }
  }

  open(type: string, payload: Buffer, wanted: Wanted): void {
    if (this.#over) {
      wanted.refused({ reason: openFailures.connectFailed, text: 'the connection is over' })
      return
    }
    const id = this.#nextId++
    this.#wanted.set(id, wanted)
    const fields = [sshString(type), sshU32(id), sshU32(windowBytes), sshU32(packetBytesMax)]
    this.#transport.send(message(messages.channelOpen, ...fields, payload))
  }

  globalRequest(
    name: string,
    payload: Buffer,
    answered: (granted: boolean, payload: Buffer) => void,
  ): void {
    if (this.#over) {
      answered(false, Buffer.alloc(0))
      return
    }
    this.#asked.push(answered)
    const fields = [sshString(name), sshBoolean(true), payload]
    this.#transport.send(message(messages.globalRequest, ...fields))
  }

  /** The transport takes more again. */
  drained(): void {
    for (const channel of [...this.#channels.values()]) channel.flush()
  }

  /** The transport is gone. Everything that waits is told; throws what one of them threw. */
  end(): void {
    if (this.#over) return
    this.#over = true
    this.#timer?.cancel()
    const why = { reason: openFailures.connectFailed, text: 'the connection was lost' }
    const wanted = [...this.#wanted.values()]
    this.#wanted.clear()
    runAll([
      ...wanted.map((each) => () => each.refused(why)),
      ...[...this.#channels.values()].map((channel) => () => channel.end()),
      ...this.#asked.splice(0).map((answered) => () => answered(false, Buffer.alloc(0))),
    ])
  }

  #data(payload: Buffer, lengthAt: number, extended: number): void {
    const reader = new ByteReader(payload, lengthAt)
    const length = reader.u32()
    if (length !== reader.remaining) throw violation('data of another length than its packet')
    if (length > packetBytesMax) throw violation('data larger than a packet may hold')
    this.#channel(payload.readUInt32BE(1))?.received(reader.bytes(length), extended)
  }

  #recipient(payload: Buffer): Channel | undefined {
    return this.#channel(new ByteReader(payload, 1).u32())
  }

  #channel(id: number): Channel | undefined {
    const channel = this.#channels.get(id)
    // What was closed may still be spoken to for a while; what never was may not.
    if (channel === undefined && id >= this.#nextId) throw violation(`channel ${id}`)
    return channel
  }

  #add(remoteId: number, window: number, packet: number, handlers: ChannelHandlers, id: number) {
    const channel = new Channel({
      transport: this.#transport,
      localId: id,
      remoteId,
      remoteWindow: window,
      packetBytesMax: packet,
      handlers,
      forget: () => this.#channels.delete(id),
    })
    this.#channels.set(id, channel)
    return channel
  }

  #open(payload: Buffer): void {
    const reader = new ByteReader(payload, 1)
    const type = readSshText(reader, typeBytesMax)
    const [remoteId, window, packet] = [reader.u32(), reader.u32(), reader.u32()]
    let decided = false
    const decide = (): void => {
      if (decided) throw new Error('a channel was decided twice')
      decided = true
      this.#undecided--
    }
    this.#undecided++
    const opening: Opening = {
      type,
      payload: reader.bytes(reader.remaining),
      accept: (handlers) => {
        decide()
        const id = this.#nextId++
        const channel = this.#add(remoteId, window, packet, handlers, id)
        const fields = [remoteId, id, windowBytes, packetBytesMax].map(sshU32)
        this.#transport.send(message(messages.channelOpenConfirmation, ...fields))
        return channel
      },
      refuse: (reason, text) => {
        decide()
        this.#transport.send(channelOpenFailure(remoteId, reason, text))
      },
    }
    if (this.#channels.size + this.#undecided > this.#options.channelsMax) {
      opening.refuse(openFailures.resourceShortage, 'too many channels on this connection')
    } else this.#handlers.open(opening)
  }

  #confirmed(payload: Buffer): void {
    const reader = new ByteReader(payload, 1)
    const id = reader.u32()
    const wanted = this.#wanted.get(id)
    if (wanted === undefined) throw violation(`confirmation of channel ${id}`)
    this.#wanted.delete(id)
    const [remoteId, window, packet] = [reader.u32(), reader.u32(), reader.u32()]
    wanted.opened(this.#add(remoteId, window, packet, wanted.handlers, id))
  }

  #refused(payload: Buffer): void {
    const reader = new ByteReader(payload, 1)
    const id = reader.u32()
    const wanted = this.#wanted.get(id)
    if (wanted === undefined) throw violation(`refusal of channel ${id}`)
    this.#wanted.delete(id)
    wanted.refused({ reason: reader.u32(), text: readSshString(reader, 4_096).toString('utf8') })
  }

  #channelRequest(payload: Buffer): void {
    const reader = new ByteReader(payload, 1)
    const channel = this.#channel(reader.u32())
    const type = readSshText(reader, typeBytesMax)
    const wantsReply = reader.u8() !== 0
    if (channel === undefined || channel.isOver) return
    channel.handlers.request(type, wantsReply, reader.bytes(reader.remaining))
  }

  #globalRequest(payload: Buffer): void {
    const reader = new ByteReader(payload, 1)
    const name = readSshText(reader, typeBytesMax)
    const wantsReply = reader.u8() !== 0
    const rest = reader.bytes(reader.remaining)
    if (!wantsReply) {
      this.#handlers.globalRequest(name, rest, () => {})
      return
    }
    if (this.#answers.length >= globalRequestsMax) throw violation('too many requests at once')
    const answer: { payload: Buffer | undefined; granted: boolean | undefined } = {
      payload: undefined,
      granted: undefined,
    }
    this.#answers.push(answer)
    this.#handlers.globalRequest(name, rest, (granted, given) => {
      answer.granted ??= granted
      answer.payload ??= given
      this.#sendAnswers()
    })
  }

  /** In the order of the requests, which carry no number. */
  #sendAnswers(): void {
    while (this.#answers.length > 0 && this.#answers[0]!.granted !== undefined) {
      const { granted, payload } = this.#answers.shift()!
      if (granted === true) {
        this.#transport.send(message(messages.requestSuccess, payload ?? Buffer.alloc(0)))
      } else this.#transport.send(message(messages.requestFailure))
    }
  }

  #armKeepalive(): void {
    const { clock, keepaliveMs } = this.#options
    this.#timer = clock.startTimer(keepaliveMs, () => {
      if (this.#over) return
      // Whom nobody reads cannot be heard.
      if (this.#transport.isHeld) this.#heardAtMs = clock.monotonicMs()
      const silentMs = clock.monotonicMs() - this.#heardAtMs
      if (silentMs >= keepaliveMs) {
        if (this.#unanswered++ >= keepalivesMax) {
          this.#transport.destroy(new Error('the peer gives no sign of life'))
          return
        }
        this.globalRequest('keepalive@openssh.com', Buffer.alloc(0), () => {})
      }
      this.#armKeepalive()
    })
  }
}

function violation(what: string): SallyportError {
  return new SallyportError('protocol-violation', `SSH connection: unexpected ${what}`, {
    clientMessage: `protocol error: unexpected ${what}`,
  })
}
