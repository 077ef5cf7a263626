/** What runs in one channel, as the audit has it: one activity with one outcome, a recording, and whoever watches the bytes. */
import type { OutcomeStatus } from '../../activity.ts'
import type { Recording, RecordingHeader } from '../../session.ts'
import type { ChannelObserver } from '../observe/channel-observer.ts'
import { decideCommand } from '../observe/command-rules.ts'
import { observeChannel } from '../observe.ts'
import type { Relayed } from '../relay.ts'
import { requestBytesMax } from '../wire.ts'
import { ChannelRecord } from './channel-record.ts'
import type { Flow } from './flow.ts'
import type { Exit, Terminal } from './requests.ts'

const titleCharactersMax = 256
/** The length stands in front of it. */
const commandBytesMax = requestBytesMax - 4

export class Program {
  /** Set where the resource's rules refuse it: what to tell the client. It must not be started. */
  readonly refusal: string | undefined
  readonly #relayed: Relayed
  readonly #flow: Flow
  readonly #entry: ChannelRecord
  #recording: Recording | undefined
  readonly #recordedAs: readonly ['terminal' | 'stream', RecordingHeader]
  /** The content of files is not recorded, and all else is. */
  #isFiles = false
  readonly #observer: ChannelObserver | undefined
  readonly #recordsInput: boolean = false
  readonly #observesInput: boolean = false
  #inputTaken = true
  #exit: Exit | undefined

  constructor(
    relayed: Relayed,
    what: { readonly kind: 'shell' | 'exec' | 'subsystem'; readonly line?: Buffer },
    terminal: Terminal | undefined,
    flow: Flow,
  ) {
    const { session, host } = relayed
    this.#relayed = relayed
    this.#flow = flow
    const line = what.line ?? Buffer.alloc(0)
    const channel = flow.client.localId
    this.#entry = new ChannelRecord(relayed, {
      kind: what.kind === 'exec' ? 'command' : 'channel',
      ...{ operation: what.kind, channel, text: line },
    })
    const text = line.toString('utf8')
    const title = (what.kind === 'shell' ? 'shell' : text).slice(0, titleCharactersMax)
    const header = { activity: this.#entry.activity, title, ...terminal }
    this.#recordedAs = [terminal === undefined ? 'stream' : 'terminal', header]
    this.refusal = tooLong(line) ?? refusalOf(relayed, what.kind, text)
    if (this.refusal !== undefined) {
      this.#entry.refuse()
      return
    }
    // What was typed reaches the recording when it is known whether it was shown.
    const isTyped = terminal !== undefined
    this.#recordsInput = session.ssh?.recordInput === true
    const observed = observeChannel(session, host.clock, {
      kind: what.kind,
      command: text,
      hasTerminal: isTyped,
      channel,
      onUnclear: () => {
        this.#isFiles = false
        this.#record()
      },
      ...(this.#recordsInput ? { onInput: (bytes, isHidden) => this.#typed(bytes, isHidden) } : {}),
    })
    this.#observer = observed?.observer
    this.#isFiles = observed?.isFileTransfer === true
    if (this.#isFiles) return
    this.#record()
    this.#observesInput = isTyped
  }

  /** Nobody looks at it: a line among the files would break them. */
  get isFileTransfer(): boolean {
    return this.#isFiles
  }

  #record(): Recording {
    return (this.#recording ??= this.#relayed.session.record(...this.#recordedAs))
  }

  /** Before the bytes are forwarded. False: the recording asks to wait. */
  fromClient(bytes: Buffer): boolean {
    this.#inputTaken = true
    this.#observer?.fromClient(bytes)
    if (this.#recordsInput && !this.#observesInput && !this.#isFiles) this.#typed(bytes, false)
    return this.#inputTaken
  }

  fromUpstream(bytes: Buffer, extended: number): boolean {
    if (extended === 0) this.#observer?.fromUpstream(bytes)
    if (extended !== 0) return this.#record().write('upstream-error', bytes)
    return this.#isFiles || this.#record().write('upstream', bytes)
  }

  #typed(bytes: Buffer, isHidden: boolean): void {
    const isTaken = this.#recording?.write(isHidden ? 'client-hidden' : 'client', bytes)
    if (isTaken === false) this.#inputTaken = false
  }

  resize({ columns, rows }: { columns: number; rows: number }): void {
    this.#recording?.resize(columns, rows)
  }

  mark(label: string): void {
    this.#recording?.mark(label)
  }

  exited(exit: Exit): void {
    this.#exit ??= exit
  }

  /** The resource does not start it. */
  refused(): void {
    this.#entry.outcome.errorText = 'the resource refused to start it'
    this.#settle('error')
  }

  /** It is over; `otherwise` is how it went if it did not say. */
  end(otherwise: OutcomeStatus | undefined): void {
    const exit = this.#exit
    if (exit === undefined) this.#settle(otherwise ?? 'unknown')
    else if ('status' in exit) {
      this.#entry.outcome.tag = `exit ${exit.status}`
      this.#settle(exit.status === 0 ? 'ok' : 'error')
    } else {
      this.#entry.outcome.tag = `signal ${exit.signal}`
      this.#settle('error')
    }
  }

  #settle(status: OutcomeStatus): void {
    if (this.#entry.isSettled) return
    this.#observer?.end()
    this.#recording?.end()
    this.#entry.settle(status, this.#flow)
  }
}

/** Passed on, it would end the connection and all that runs in it. */
function tooLong({ length }: Buffer): string | undefined {
  if (length <= commandBytesMax) return undefined
  return `sallyport: that command is ${length} bytes long, and servers take ${commandBytesMax}. Copy it there as a file, and run that`
}

/** What the resource's rules say of it, in words for the client. */
function refusalOf(relayed: Relayed, kind: string, text: string): string | undefined {
  const { session } = relayed
  if (session.ssh === undefined) return undefined
  const { resource, level } = session.labels
  const hint = 'Ask the owner of the resource, or for a level that allows it: sally request'
  const allowed = session.ssh.allow
  if (kind === 'shell' && allowed !== undefined) {
    return `sallyport: ${resource} takes single commands at level ${level}, and no shell. ${hint}`
  }
  if (kind === 'subsystem') {
    const decision = decideCommand(`subsystem ${text}`, session.ssh)
    if (decision === 'allowed') return undefined
    return decision === 'denied'
      ? `sallyport: the subsystem ${text} is denied on ${resource} at level ${level}. ${hint}`
      : `sallyport: ${resource} takes single commands at level ${level}, and no ${text}. ${hint}`
  }
  if (kind !== 'exec') return undefined
  const decision = decideCommand(text, session.ssh)
  if (decision === 'allowed') return undefined
  const why = decision === 'denied' ? 'is denied' : 'is not among the allowed ones'
  return `sallyport: that command ${why} on ${resource} at level ${level}. ${hint}`
}
