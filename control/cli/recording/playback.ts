/**
 * Plays events on a terminal as they were, faster, or from another place on. Going back is playing from the beginning at
 * once: what a screen shows is made of all that came before.
 */
import type { Clock, Timer } from '../../../protocols/kit/clock.ts'
import { PlainOutput } from '../../terminal/plain-output.ts'
import type { TerminalEvent } from './terminal-events.ts'

export interface PlaybackOptions {
  readonly clock: Clock
  /** In order. More may be added while it plays. */
  readonly events: readonly TerminalEvent[]
  readonly speed: number
  /** Longer pauses are cut to this. Microseconds. */
  readonly idleLimitUs: number
  readonly write: (text: string) => void
  /** A terminal as it is before anything was written. */
  readonly clear: string
  readonly onEnd: () => void
}

const speedMin = 1 / 16
const speedMax = 64
/** Output written at once while seeking; then whoever waits for the terminal comes in. */
const textAtOnce = 256 * 1024

export class Playback {
  readonly #options: PlaybackOptions
  /** When each event plays, with long pauses cut. */
  readonly #atUs: number[] = []
  #next = 0
  #positionUs = 0
  #sinceMs = 0
  #speed: number
  #paused = true
  #timer: Timer | undefined

  constructor(options: PlaybackOptions) {
    this.#options = options
    this.#speed = options.speed
    let lastUs = 0
    let playUs = 0
    for (const { atUs } of options.events) {
      playUs += Math.min(Math.max(0, atUs - lastUs), options.idleLimitUs)
      lastUs = Math.max(lastUs, atUs)
      this.#atUs.push(playUs)
    }
  }

  get paused(): boolean {
    return this.#paused
  }

  get speed(): number {
    return this.#speed
  }

  /** Where it is, in the time that it plays in. */
  get positionUs(): number {
    if (this.#paused) return this.#positionUs
    return (
      this.#positionUs + (this.#options.clock.monotonicMs() - this.#sinceMs) * 1_000 * this.#speed
    )
  }

  get lastsUs(): number {
    return this.#atUs.at(-1) ?? 0
  }

  /** The place at which a moment of the recording plays. */
  placeOf(recordedUs: number): number {
    const index = this.#options.events.findIndex(({ atUs }) => atUs >= recordedUs)
    return index < 0 ? this.lastsUs : this.#atUs[index]!
  }

  play(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#sinceMs = this.#options.clock.monotonicMs()
    this.#arm()
  }

  pause(): void {
    this.#positionUs = this.positionUs
    this.#paused = true
    this.#timer?.cancel()
  }

  faster(factor: number): void {
    const wasPaused = this.#paused
    this.pause()
    this.#speed = Math.min(speedMax, Math.max(speedMin, this.#speed * factor))
    if (!wasPaused) this.play()
  }

  /** Shows what the screen was at this place. */
  seek(toUs: number): void {
    const wasPaused = this.#paused
    this.pause()
    const place = Math.min(this.lastsUs, Math.max(0, toUs))
    if (place < this.#positionUs) this.#rewind()
    this.#positionUs = place
    this.#showDue()
    if (!wasPaused) this.play()
  }

  /** Draws it anew: something else was written on the screen. */
  redraw(): void {
    const place = this.positionUs
    this.#rewind()
    this.seek(place)
  }

  /** The next event alone. */
  step(): void {
    this.pause()
    if (this.#next >= this.#atUs.length) return
    this.#positionUs = Math.max(this.#positionUs, this.#atUs[this.#next]!)
    this.#show(this.#next)
    this.#next += 1
  }

  /** Goes to where this text appears next, whatever its case, and stays there. False if it does not. */
  find(text: string): boolean {
    const plain = new PlainOutput()
    const wanted = text.toLowerCase()
    let seen = ''
    for (const [index, event] of this.#options.events.entries()) {
      if (event.kind !== 'output') continue
      const before = seen.length
      seen += plain.feed(Buffer.from(event.text)).toLowerCase()
      // A hit has to end in what came now: the rest was shown before.
      const found = seen.indexOf(wanted, Math.max(0, before - wanted.length + 1))
      seen = seen.slice(-wanted.length - 1_024)
      if (found < 0 || index < this.#next) continue
      this.seek(this.#atUs[index]!)
      this.pause()
      return true
    }
    return false
  }

  /** To the mark after (or before) this place. */
  toMark(direction: 1 | -1): void {
    const places = this.#options.events.flatMap((event, index) =>
      event.kind === 'mark' ? [this.#atUs[index]!] : [],
    )
    const here = this.positionUs
    const place =
      direction === 1
        ? places.find((at) => at > here)
        : places.findLast((at) => at < here - 1_000_000)
    if (place !== undefined) this.seek(place)
  }

  stop(): void {
    this.pause()
  }

  #rewind(): void {
    this.pause()
    this.#next = 0
    this.#positionUs = 0
    this.#options.write(this.#options.clear)
  }

  #showDue(): void {
    let text = ''
    while (this.#next < this.#atUs.length && this.#atUs[this.#next]! <= this.#positionUs) {
      const event = this.#options.events[this.#next]!
      if (event.kind === 'output') text += event.text
      this.#next += 1
      if (text.length >= textAtOnce) {
        this.#options.write(text)
        text = ''
      }
    }
    if (text !== '') this.#options.write(text)
  }

  #show(index: number): void {
    const event = this.#options.events[index]!
    if (event.kind === 'output') this.#options.write(event.text)
  }

  #arm(): void {
    const dueUs = this.#atUs[this.#next]
    if (dueUs === undefined) {
      this.pause()
      this.#options.onEnd()
      return
    }
    const delayMs = Math.max(0, (dueUs - this.positionUs) / 1_000 / this.#speed)
    this.#timer = this.#options.clock.startTimer(delayMs, () => {
      this.#positionUs = Math.max(this.positionUs, dueUs)
      this.#sinceMs = this.#options.clock.monotonicMs()
      this.#showDue()
      this.#arm()
    })
  }
}
