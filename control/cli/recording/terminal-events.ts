/** Frames as what a terminal is told: text, sizes and marks. UTF-8 that is split over frames is put together. */
import { StringDecoder } from 'node:string_decoder'
import { sizeOf, type Frame } from '../../api/audit/recording.ts'
import { HarmlessOutput } from '../../terminal/harmless-output.ts'

export type TerminalEvent = { readonly atUs: number } & (
  | { readonly kind: 'output' | 'input'; readonly text: string }
  | { readonly kind: 'resize'; readonly columns: number; readonly rows: number }
  | { readonly kind: 'mark'; readonly label: string }
)

export interface TerminalEventsOptions {
  /** A `stream` has bare line feeds, because no terminal was there to make more of them. */
  readonly lineFeeds: boolean
  /** Lets everything through, as the program wrote it. */
  readonly raw?: boolean
}

export class TerminalEvents {
  readonly #decoders = new Map<Frame['kind'], (bytes: Buffer) => string>()
  readonly #inputs = new Map<Frame['kind'], StringDecoder>()
  readonly #options: TerminalEventsOptions
  #returned = false

  constructor(options: TerminalEventsOptions) {
    this.#options = options
  }

  /** Undefined where there is nothing to tell yet. */
  of(frame: Frame): TerminalEvent | undefined {
    const { atUs, kind, bytes } = frame
    if (kind === 'resize') return { kind, atUs, ...sizeOf(frame) }
    if (kind === 'mark') return { kind, atUs, label: bytes.toString('utf8') }
    if (kind === 'client' || kind === 'client-hidden') {
      const decoder = this.#inputs.get(kind) ?? new StringDecoder('utf8')
      this.#inputs.set(kind, decoder)
      const text = decoder.write(bytes)
      return text === '' ? undefined : { kind: 'input', atUs, text }
    }
    const text = this.#lines(this.#decoderOf(kind)(bytes))
    return text === '' ? undefined : { kind: 'output', atUs, text }
  }

  #decoderOf(kind: Frame['kind']): (bytes: Buffer) => string {
    const known = this.#decoders.get(kind)
    if (known !== undefined) return known
    const made = this.#options.raw === true ? rawDecoder() : harmlessDecoder()
    this.#decoders.set(kind, made)
    return made
  }

  #lines(text: string): string {
    if (!this.#options.lineFeeds || text === '') return text
    const lines = text.replaceAll(/\r?\n/g, (end, at: number) =>
      end === '\n' && at === 0 && this.#returned ? '\n' : '\r\n',
    )
    this.#returned = text.endsWith('\r')
    return lines
  }
}

function rawDecoder(): (bytes: Buffer) => string {
  const decoder = new StringDecoder('utf8')
  return (bytes) => decoder.write(bytes)
}

function harmlessDecoder(): (bytes: Buffer) => string {
  const output = new HarmlessOutput()
  return (bytes) => output.filter(bytes)
}
