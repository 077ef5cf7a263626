import type { Socket } from 'node:net'
import type { Gate, Host } from '../../engine.ts'
import type { Greeted } from '../downstream.ts'
import type { RawHeaders } from '../upstream/app.ts'
import { fieldValue } from '../wire/fields.ts'
import { HttpRefusal } from '../wire/refusal.ts'
import type { Asked } from './check.ts'
import type { Shown } from './evidence.ts'
import { HeldLease } from './held-lease.ts'

/** Leases of one connection: a browser has one per app, and TLS binds a connection to one app. */
const leasesMax = 16
/** What a client may say of itself; the rest is left out. */
const agentCharactersMax = 200

/** What requests of one connection share: who is there, and what the gate said to it. */
export class ClientConnection {
  readonly gate: Gate
  readonly host: Host
  readonly greeted: Greeted
  readonly remoteAddress: string
  readonly remotePort: number
  readonly #connection: Socket
  readonly #leases = new Map<string, Promise<HeldLease> | HeldLease>()
  #isAdmitted = false
  #isOver = false

  constructor(connection: Socket, greeted: Greeted, gate: Gate, host: Host) {
    this.gate = gate
    this.host = host
    this.greeted = greeted
    this.#connection = connection
    this.remoteAddress = connection.remoteAddress ?? ''
    this.remotePort = connection.remotePort ?? 0
  }

  /** Somebody was let in on it once. */
  get isAdmitted(): boolean {
    return this.#isAdmitted
  }

  /** The gate let somebody in: it is no stranger's connection any more. */
  admitted(): void {
    if (this.#isAdmitted) return
    this.#isAdmitted = true
    this.host.handshakeDone(this.#connection)
  }

  /**
   * The lease of this evidence: at once where the connection has it, else once the gate has admitted it. A refusal is not remembered, and a yes
   * for `leaseCheckMs`: what has ended meanwhile begins nothing, however long a connection is kept.
   * One that was cut is given once more, so that its end can be told; after that the gate is asked again.
   */
  lease(
    shown: Shown,
    asked: Asked,
    wanted: string,
    headers: RawHeaders,
  ): HeldLease | Promise<HeldLease> {
    const key = `${asked.resource} ${wanted} ${shown.key}`
    const found = this.#found(key)
    const isStale = found instanceof HeldLease && this.#isStale(found)
    if (found !== undefined && !isStale) {
      if (found instanceof HeldLease && found.ended !== undefined) this.#leases.delete(key)
      return found
    }
    if (!isStale && this.#leases.size >= leasesMax) this.#makeRoom()
    const held = this.#admit(shown, asked, wanted, headers)
    this.#leases.set(key, held)
    held
      .then(
        (lease) => {
          if (this.#leases.get(key) === held) this.#leases.set(key, lease)
        },
        () => {
          if (this.#leases.get(key) === held) this.#leases.delete(key)
        },
      )
      .finally(() => {
        if (isStale) found.retire()
      })
    return held
  }

  #isStale({ sinceMs, ended }: HeldLease): boolean {
    const { clock, limits } = this.host
    return ended === undefined && clock.monotonicMs() - sinceMs >= limits.leaseCheckMs
  }

  /** One whose session is over without a cut has nothing to tell. */
  #found(key: string): HeldLease | Promise<HeldLease> | undefined {
    const found = this.#leases.get(key)
    if (!(found instanceof HeldLease) || !found.session.isOver) return found
    this.#leases.delete(key)
    found.release()
    return undefined
  }

  async #admit(
    { evidence }: Shown,
    { resource }: Asked,
    wanted: string,
    headers: RawHeaders,
  ): Promise<HeldLease> {
    const application = (fieldValue(headers, 'user-agent') ?? '').slice(0, agentCharactersMax)
    const session = await this.gate.lease({
      ...{ evidence, protocol: 'http', resource, wanted },
      ...{ remoteAddress: this.remoteAddress, remotePort: this.remotePort },
      attributes: application === '' ? {} : { application },
    })
    this.admitted()
    try {
      const held = new HeldLease(session, this.host)
      if (this.#isOver) held.release()
      return held
    } catch (error) {
      await session[Symbol.asyncDispose]()
      throw error
    }
  }

  #makeRoom(): void {
    for (const [key, lease] of this.#leases) {
      if (!(lease instanceof HeldLease) || lease.isBusy) continue
      this.#leases.delete(key)
      lease.release()
      return
    }
    throw new HttpRefusal(429, 'limit-reached', 'too many sessions on one connection')
  }

  /** The connection is over: whatever is open was told so by its own exchange. */
  end(): void {
    this.#isOver = true
    if (!this.#isAdmitted) this.host.handshakeDone(this.#connection)
    for (const lease of this.#leases.values()) if (lease instanceof HeldLease) lease.release()
    this.#leases.clear()
  }
}
