/** The bytes of one channel, both ways, with back-pressure: each side may send on when the other has taken what it sent. */
import type { Session } from '../../session.ts'
import type { Channel } from '../wire/channel.ts'
import { ForwardTarget } from '../wire/forward-target.ts'
import { Pile } from './pile.ts'

/** What waits for `Session.onDrain`: one listener for all channels of a session. */
export class Drains {
  readonly #flows = new Map<ForwardTarget, Flow>()

  add(target: ForwardTarget, flow: Flow): void {
    this.#flows.set(target, flow)
  }

  remove(target: ForwardTarget): void {
    this.#flows.delete(target)
  }

  drained(target: unknown): void {
    if (target === undefined) for (const flow of [...this.#flows.values()]) flow.resume()
    else this.#flows.get(target as ForwardTarget)?.resume()
  }
}

export class Flow {
  readonly client: Channel
  readonly upstream: Channel
  readonly #session: Session
  readonly #drains: Drains
  readonly #target = new ForwardTarget()
  /** Of the client's, not yet granted again. */
  #heldUp = 0
  /** Of the upstream's. */
  #heldDown = 0
  #clientFull = false
  /** The client's, while the session or the resource takes no more: it has a window's worth to send in packets of its own choice. */
  readonly #pile = new Pile()
  #isHeldUp = false
  bytesUp = 0
  bytesDown = 0

  constructor(session: Session, drains: Drains, client: Channel, upstream: Channel) {
    this.#session = session
    this.#drains = drains
    this.client = client
    this.upstream = upstream
    this.#target.leadTo(upstream)
    drains.add(this.#target, this)
  }

  /** `recorded` false: the recording asks to wait. */
  up(bytes: Buffer, recorded = true): void {
    this.bytesUp += bytes.length
    this.#heldUp += bytes.length
    if (this.#isHeldUp) {
      this.#pile.push(bytes)
      return
    }
    const isTaken = this.#session.forward(this.#target, bytes)
    if (isTaken && recorded) this.#grantUp()
    else this.#isHeldUp = true
  }

  down(bytes: Buffer, extended: number, recorded = true): void {
    this.bytesDown += bytes.length
    this.#heldDown += bytes.length
    this.#session.countDownstream(bytes.length)
    if (!this.client.write(bytes, extended)) this.#clientFull = true
    else if (recorded) this.#grantDown()
  }

  /** The client sends no more. */
  eofUp(): void {
    this.#unpile()
    this.#session.forwardCall(() => void this.#target.end())
  }

  /** The client has closed: what it sent before still goes through. */
  closeUp(): void {
    this.#unpile()
    const sent = this.#session.forwardCall(() => {
      this.#target.end(() => this.upstream.close())
    })
    if (!sent && this.#session.signal.aborted) this.upstream.closeNow()
  }

  /** The upstream's channel takes more again. */
  upstreamDrained(): void {
    this.#target.drained()
  }

  clientDrained(): void {
    this.#clientFull = false
    this.#grantDown()
  }

  /** Forwarding or recording may go on. */
  resume(): void {
    this.#isHeldUp = false
    for (let next = this.#pile.shift(); next !== undefined; next = this.#pile.shift()) {
      if (this.#session.forward(this.#target, next)) continue
      this.#isHeldUp = true
      break
    }
    if (!this.#isHeldUp) this.#grantUp()
    if (!this.#clientFull) this.#grantDown()
  }

  end(): void {
    this.#drains.remove(this.#target)
    this.#target.drained()
    this.#target.destroy()
  }

  /** Nothing more comes: what waits goes on, full or not. */
  #unpile(): void {
    for (let next = this.#pile.shift(); next !== undefined; next = this.#pile.shift()) {
      this.#session.forward(this.#target, next)
    }
  }

  #grantUp(): void {
    const held = this.#heldUp
    this.#heldUp = 0
    if (held > 0) this.client.consumed(held)
  }

  #grantDown(): void {
    const held = this.#heldDown
    this.#heldDown = 0
    if (held > 0) this.upstream.consumed(held)
  }
}
