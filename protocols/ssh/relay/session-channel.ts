/** One channel of type `session` (RFC 4254, chapter 6): a shell, a command or a subsystem, with all that is asked of it. */
import { SallyportError } from '../../kit/errors.ts'
import { leaveChannel } from '../downstream/told-channel.ts'
import type { Relayed, RelayedChannel } from '../relay.ts'
import { exitSignal, requestBytesMax, stderrType } from '../wire.ts'
import type { Channel, ChannelHandlers } from '../wire/channel.ts'
import type { Opening } from '../wire/connection.ts'
import { Flow } from './flow.ts'
import { takesEnvironment } from './environment.ts'
import { Program } from './program.ts'
import {
  readEnvironment,
  readExit,
  readString,
  readTerminal,
  readWindow,
  type Terminal,
} from './requests.ts'
import { reportRefused } from './tunnel.ts'

type Answer = (granted: boolean) => void

/** What a client may say before the resource's channel is there: so many messages, so many bytes. */
const earlyMax = 10_000
const earlyBytesMax = 4 * 1024 * 1024
/** Requests that wait to be passed on: so many, so many bytes. */
const passingMax = 1_000
const passingBytesMax = earlyBytesMax

const starts = new Set(['exec', 'subsystem'])
/** Asked of a program that runs, and no more than passed on. */
const passedUp = new Set(['signal', 'break', 'eow@openssh.com'])
const passedDown = new Set(['eow@openssh.com', 'xon-xoff'])

export class SessionChannel implements RelayedChannel {
  readonly #relayed: Relayed
  readonly #client: Channel
  readonly #over: () => void
  #flow: Flow | undefined
  /** What the client asked before the resource's channel was there. */
  #early: (() => void)[] = []
  #earlyBytes = 0
  #passing = 0
  #passingBytes = 0
  #terminal: Terminal | undefined
  #program: Program | undefined
  #clientClosed = false
  #isDone = false

  constructor(relayed: Relayed, opening: Opening, over: () => void) {
    this.#relayed = relayed
    this.#over = over
    this.#client = opening.accept(this.#fromClient)
    const { session, upstream } = relayed
    session.forwardCall(() =>
      upstream.open('session', Buffer.alloc(0), {
        handlers: this.#fromUpstream,
        opened: (channel) => this.#opened(channel),
        refused: ({ text }) => this.#refused(text),
      }),
    )
  }

  notify(line: string): boolean {
    // Only where a person looks: any other stream is some program's.
    if (this.#terminal === undefined || this.#program === undefined || this.#isDone) return false
    if (this.#program.isFileTransfer) return false
    this.#say(`\r\n\x1b[0msallyport: ${line}\r\n`, 0)
    this.#program.mark(line)
    return true
  }

  farewell(why: string): void {
    if (this.#isDone) return
    const client = this.#client
    const text = `sallyport: ${why}`
    client.dropWaiting()
    // A full-screen program has the terminal: back to the plain screen, so that the line stays to be read.
    if (this.#terminal === undefined) this.#say(`${text}\r\n`, stderrType)
    else this.#say(`\r\n\x1b[?1049l\x1b[0m\r\n${text}\r\n`, 0)
    this.#program?.mark(text)
    client.requestInOrder('exit-signal', exitSignal('TERM', text))
    client.eof()
    client.close()
    this.#program?.end('cancelled')
  }

  kill(): void {
    const upstream = this.#flow?.upstream
    if (upstream === undefined) return
    upstream.request('signal', Buffer.from('\0\0\0\x04KILL', 'latin1'))
    upstream.closeNow()
  }

  abandon(): void {
    this.#program?.end('cancelled')
    this.#flow?.end()
    this.#flow?.upstream.closeNow()
  }

  /** Asks what runs to end by itself. */
  hangUp(): void {
    const upstream = this.#flow?.upstream
    upstream?.request('signal', Buffer.from('\0\0\0\x03HUP', 'latin1'))
    upstream?.request('signal', Buffer.from('\0\0\0\x04TERM', 'latin1'))
  }

  #say(text: string, extended: number): void {
    const bytes = Buffer.from(text)
    this.#relayed.session.countDownstream(bytes.length)
    this.#client.write(bytes, extended)
  }

  #opened(channel: Channel): void {
    const { session, drains } = this.#relayed
    this.#flow = new Flow(session, drains, this.#client, channel)
    for (const run of this.#early.splice(0)) run()
  }

  #refused(text: string): void {
    leaveChannel(this.#client, `sallyport: the resource opens no channel: ${text}`, 255)
    this.#done()
  }

  /** Runs now, or when the resource's channel is there. */
  #whenOpen(run: (flow: Flow) => void): void {
    if (this.#isDone) return
    if (this.#flow !== undefined) {
      run(this.#flow)
      return
    }
    this.#early.push(() => run(this.#flow!))
  }

  /** Throws past what a client may say before the resource's channel is there. */
  #countEarly(bytes: number): void {
    if (this.#flow !== undefined) return
    this.#earlyBytes += bytes
    if (this.#early.length >= earlyMax || this.#earlyBytes > earlyBytesMax) {
      throw tooMuch('too much at once on a channel that is not open yet')
    }
  }

  readonly #fromClient: ChannelHandlers = {
    data: (bytes) => {
      this.#countEarly(bytes.length)
      this.#whenOpen((flow) => {
        if (this.#program === undefined) throw tooEarly()
        const program = this.#program
        let isTaken = true
        const passes = this.#relayed.guard(() => {
          isTaken = program.fromClient(bytes)
        })
        if (passes) flow.up(bytes, isTaken)
      })
    },
    eof: () => {
      this.#countEarly(0)
      this.#whenOpen((flow) => flow.eofUp())
    },
    closed: () => {
      this.#clientClosed = true
      // Our own CLOSE waits for the resource's: how it ended may still come, and the client waits for that.
      this.#whenOpen((flow) => flow.closeUp())
    },
    drained: () => this.#flow?.clientDrained(),
    request: (type, wantsReply, payload) => {
      const answer: Answer = wantsReply ? this.#client.reserveReply() : () => {}
      this.#countEarly(payload.length)
      this.#whenOpen(() => this.#request(type, payload, answer, wantsReply))
    },
  }

  #request(type: string, payload: Buffer, answer: Answer, wantsReply: boolean): void {
    const { session } = this.#relayed
    // The resource would end the connection over it, and with it all that runs. What starts something says so.
    if (payload.length > requestBytesMax && !starts.has(type)) {
      answer(false)
      return
    }
    switch (type) {
      case 'pty-req':
        // What runs already is recorded as what it was started as.
        if (this.#program !== undefined) {
          answer(false)
          return
        }
        this.#terminal = readTerminal(payload)
        this.#pass(type, payload, answer, wantsReply)
        break
      case 'window-change': {
        const window = readWindow(payload)
        this.#program?.resize(window)
        if (this.#terminal !== undefined) Object.assign(this.#terminal, window)
        this.#pass(type, payload, answer, wantsReply)
        break
      }
      case 'env': {
        const isTaken = takesEnvironment(
          ...[this.#relayed, readEnvironment(payload), this.#client.localId],
        )
        if (isTaken) this.#pass(type, payload, answer, wantsReply)
        else answer(false)
        break
      }
      case 'shell':
        this.#start({ kind: 'shell' }, type, payload, answer)
        break
      case 'exec': {
        const line = readString(payload)
        this.#start({ kind: 'exec', line }, type, payload, answer)
        break
      }
      case 'subsystem': {
        const name = readString(payload)
        this.#start({ kind: 'subsystem', line: name }, type, payload, answer)
        break
      }
      case 'auth-agent-req@openssh.com':
        if (session.ssh?.agentForwarding === true) {
          this.#relayed.agentWanted = true
          this.#pass(type, payload, answer, wantsReply)
        } else {
          reportRefused(this.#relayed, 'agent', 'agent')
          answer(false)
        }
        break
      case 'x11-req':
        reportRefused(this.#relayed, 'x11', 'x11')
        // The refusal itself has no room for words.
        this.#relayed.tell('X11 is not forwarded through this proxy')
        answer(false)
        break
      default:
        if (passedUp.has(type)) this.#pass(type, payload, answer, wantsReply)
        else answer(false)
    }
  }

  #pass(type: string, payload: Buffer, answer: Answer, wantsReply: boolean): void {
    const upstream = this.#flow!.upstream
    // They take nothing from any window.
    this.#passing++
    this.#passingBytes += payload.length
    if (this.#passing > passingMax || this.#passingBytes > passingBytesMax) {
      throw tooMuch('too many requests at once')
    }
    this.#relayed.session.forwardCall(() => {
      this.#passing--
      this.#passingBytes -= payload.length
      upstream.request(type, payload, wantsReply ? answer : undefined)
    })
  }

  #start(
    what: { readonly kind: 'shell' | 'exec' | 'subsystem'; readonly line?: Buffer },
    type: string,
    payload: Buffer,
    answer: Answer,
  ): void {
    // RFC 4254, 6.5: only one of these per channel.
    if (this.#program !== undefined) {
      answer(false)
      return
    }
    const program = new Program(this.#relayed, what, this.#terminal, this.#flow!)
    this.#program = program
    if (program.refusal !== undefined) {
      answer(true)
      leaveChannel(this.#client, program.refusal, 126)
      this.#flow!.upstream.close()
      return
    }
    const upstream = this.#flow!.upstream
    this.#relayed.session.forwardCall(() =>
      upstream.request(type, payload, (granted) => {
        if (!granted) program.refused()
        answer(granted)
        if (granted) this.#catchUp()
      }),
    )
  }

  /** Says what no terminal was there for. */
  #catchUp(): void {
    for (const line of this.#relayed.untold.splice(0)) this.#relayed.tell(line)
  }

  readonly #fromUpstream: ChannelHandlers = {
    data: (bytes, extended) => {
      const flow = this.#flow
      if (flow === undefined || this.#program === undefined) return
      // RFC 4254, 5.2: standard error is the only kind there is.
      if (extended > stderrType || this.#isDone || this.#clientClosed) {
        flow.upstream.consumed(bytes.length)
        return
      }
      const program = this.#program
      let isTaken = true
      const passes = this.#relayed.guard(() => {
        isTaken = program.fromUpstream(bytes, extended)
      })
      if (passes) flow.down(bytes, extended, isTaken)
    },
    eof: () => this.#client.eof(),
    closed: () => {
      this.#program?.end(undefined)
      this.#flow?.upstream.closeNow()
      this.#client.close()
      this.#done()
    },
    drained: () => this.#flow?.upstreamDrained(),
    request: (type, wantsReply, payload) => {
      if (type === 'exit-status' || type === 'exit-signal') {
        this.#program?.exited(readExit(type, payload))
        this.#client.requestInOrder(type, payload)
      } else if (passedDown.has(type)) this.#client.request(type, payload)
      if (wantsReply) this.#flow?.upstream.reserveReply()(false)
    },
  }

  #done(): void {
    if (this.#isDone) return
    this.#isDone = true
    this.#early = []
    this.#flow?.end()
    this.#over()
  }
}

function tooEarly(): SallyportError {
  return new SallyportError('protocol-violation', 'data on a channel where nothing runs', {
    clientMessage: 'protocol error: data before a program was asked for',
  })
}

function tooMuch(what: string): SallyportError {
  return new SallyportError('protocol-violation', what, {
    clientMessage: `protocol error: ${what}`,
  })
}
