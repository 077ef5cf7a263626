/**
 * What was typed at a shell, worked out from the echo: the line as it stood when Enter was pressed, without the prompt. History, completion
 * and editing are in it, because the shell shows them. It is an activity of a kind of its own (`typed`): what a program read may be something else, and the
 * recording is what counts. Also tells typed bytes that were echoed from those that were not (a password).
 */
import { newOutcome, type ActivitySource, type FieldWriter } from '../../activity.ts'
import type { ChannelObserver } from './channel-observer.ts'
import type { AuditSink } from './file-activities.ts'
import { ScreenLine } from './screen-line.ts'

const commandCharactersMax = 4_096
/** Typed bytes that wait for their echo. */
const unechoedBytesMax = 4_096

export interface TypedOptions {
  readonly channel: number
  /** Takes what was typed, in order, once it is known whether it was shown. Undefined: nobody wants it. */
  readonly onInput?: (bytes: Buffer, isHidden: boolean) => void
}

export function observeTyped(sink: AuditSink, options: TypedOptions): ChannelObserver {
  const source = new TypedSource(String(options.channel))
  const screen = new ScreenLine(leftLine)
  /** Where in the present line typing began; undefined while nothing was typed in it. */
  let typedFrom: number | undefined
  /** The prompt of the line before, for what was typed ahead of its prompt. */
  let prompt = ''
  /** How many Enters have not been answered by a new line. */
  let enters = 0
  let waiting: Buffer[] = []
  let waitingBytes = 0

  function leftLine(line: string): void {
    if (enters === 0 || screen.isAlternate) {
      typedFrom = undefined
      return
    }
    enters -= 1
    const from = typedFrom ?? (prompt !== '' && line.startsWith(prompt) ? prompt.length : undefined)
    // Only with nothing typed here and no known prompt is the whole line all there is to go by: then it is no command.
    if (from !== undefined) {
      if (from > 0) prompt = line.slice(0, from)
      const command = line.slice(from).trim().slice(0, commandCharactersMax)
      if (command !== '') report(command)
    }
    typedFrom = undefined
  }

  function report(command: string): void {
    source.command = command
    const id = sink.report(source)
    sink.settle(id, unknownOutcome)
  }

  function decide(isHidden: boolean): void {
    if (waitingBytes === 0) return
    const bytes = waiting.length === 1 ? waiting[0]! : Buffer.concat(waiting)
    waiting = []
    waitingBytes = 0
    options.onInput?.(bytes, isHidden)
  }

  return {
    fromClient(bytes) {
      if (options.onInput !== undefined) {
        waiting.push(bytes)
        waitingBytes += bytes.length
        // Where nothing answers so much input, nothing shows it.
        if (waitingBytes > unechoedBytesMax) decide(true)
      }
      if (screen.isAlternate) return
      if (typedFrom === undefined && enters === 0) typedFrom = screen.column
      for (const byte of bytes) {
        if (byte === 0x0d || byte === 0x0a) enters += 1
        // Interrupt, end of file, quit: the line is given up.
        else if (byte === 0x03 || byte === 0x04 || byte === 0x1c) enters = 0
      }
    },
    fromUpstream(bytes) {
      if (waitingBytes > 0) {
        const typed = firstShown(Buffer.concat(waiting), false)
        // Nothing printable was typed (Enter, arrows): there is nothing to hide. In doubt it is hidden.
        decide(typed !== undefined && typed !== firstShown(bytes, true))
      }
      screen.push(bytes)
    },
    end() {
      decide(true)
    },
  }
}

/** The first byte that shows as a character, past control characters and escape sequences; none past the end of the line if `inLine`. */
function firstShown(bytes: Buffer, inLine: boolean): number | undefined {
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!
    if (byte === 0x1b) {
      at += 1
      if (bytes[at] !== 0x5b) continue
      while (at + 1 < bytes.length && !(bytes[at + 1]! >= 0x40 && bytes[at + 1]! <= 0x7e)) at += 1
      at += 1
    } else if (byte === 0x0a && inLine) return undefined
    else if (byte >= 0x20 && byte !== 0x7f) return byte
  }
  return undefined
}

const unknownOutcome = newOutcome({ status: 'unknown' })

class TypedSource implements ActivitySource {
  readonly kind = 'typed'
  readonly #channel: string
  command = ''

  constructor(channel: string) {
    this.#channel = channel
  }

  encode(fields: FieldWriter): void {
    fields.utf8('text', this.command)
    fields.utf8('channel', this.#channel)
  }
}
