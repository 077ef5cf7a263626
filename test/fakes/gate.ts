/**
 * A gate and sessions in memory, so that an engine runs end to end without a proxy: it lets in whoever shows a
 * certificate, remembers every record and outcome, commits once per turn as the real one does, and cuts on demand.
 */
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import type { Writable } from 'node:stream'
import {
  decodeActivity,
  FieldWriter,
  type ActivityKind,
  type ActivitySource,
  type BlobReference,
  type DecodedActivity,
  type Outcome,
} from '../../protocols/activity.ts'
import type { Arrival, Gate, Identity } from '../../protocols/engine.ts'
import { ByteWriter } from '../../protocols/kit/byte-writer.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { Secret } from '../../protocols/kit/secret.ts'
import { levels } from '../../protocols/session.ts'
import type {
  Cut,
  CutReason,
  Downstream,
  EndReason,
  HttpTerms,
  Level,
  RecordedFrom,
  Recording,
  RecordingHeader,
  RecordingKind,
  Session,
  SshTerms,
  Upstream,
} from '../../protocols/session.ts'

export interface FakeRecord extends DecodedActivity {
  id: number
  kind: ActivityKind
  /** Everything that was said of it; there must be exactly one in the end. */
  outcomes: Outcome[]
}

export interface FakeRecording {
  readonly kind: RecordingKind
  readonly header: RecordingHeader
  readonly parts: (
    | { readonly from: RecordedFrom; readonly bytes: Buffer }
    | { readonly columns: number; readonly rows: number }
    | { readonly mark: string }
  )[]
  ended: boolean
}

type Moving = 'isCut' | 'isOver' | 'expiresAtMs' | 'warning'

export interface FakeSession extends Omit<Session, Moving> {
  readonly arrival: Arrival
  readonly records: FakeRecord[]
  readonly blobs: ReadonlyMap<string, Buffer>
  readonly recordings: FakeRecording[]
  /** While true every write to a recording says that it is full. */
  recordingsFull: boolean
  readonly ended: { reason: EndReason; error?: Error } | undefined
  /** What it was asked for and gave, in order: each loan is a secret of its own, as a store's are. */
  readonly lent: readonly Secret<string>[]
  readonly isOpen: boolean
  readonly closed: Promise<void>
  /** Bytes that `forward` let go. */
  readonly forwardedBytes: number
  readonly downstreamBytes: number
  /** The first half of a cut, as a proxy has it: nothing is forwarded any more, and nobody told yet. */
  beginCut(): void
  cut(reason?: CutReason, message?: string, hint?: string): void
  notify(line: string): void
  readonly isCut: boolean
  isOver: boolean
  expiresAtMs: number
  warning: string | undefined
}

export interface FakeGate extends Gate {
  readonly sessions: FakeSession[]
  /** Every record of every session, in order. */
  readonly records: FakeRecord[]
  /** The text of every statement, in order. */
  readonly texts: string[]
  readonly arrivals: Arrival[]
  readonly cancels: Buffer[]
  /** While true nothing is committed, so nothing may go upstream. */
  commitsHeld: boolean
  /** Replaced to refuse keys and certificates of SSH. */
  identifies: Gate['identify']
  /** What all sessions keep by person: there is one person, at one resource. */
  readonly keptByPeople: Map<symbol, Disposable>
  /** Replaced to have grants of other levels; for who wants no level. */
  levelCovering: ((need: Level) => Level | undefined) | undefined
  /** Replaced to refuse. */
  refuse: ((arrival: Arrival) => SallyportError | undefined) | undefined
}

export interface FakeGateOptions {
  upstream: Upstream
  account: string
  secret: string
  farewellMs?: number
  ssh?: SshTerms
  http?: HttpTerms
  /** Of every session; `read` by default. */
  level?: Level
  certify?: Session['certify']
  signIn?: Gate['signIn']
  queueBytesMax?: number
  /** Takes what a turn committed instead of keeping the records (for long loads). */
  spool?: (batch: Buffer) => void
}

export function createFakeGate(options: FakeGateOptions): FakeGate {
  const cancels = new Map<string, () => void>()
  const leases = new FakeLeases()
  const gate: FakeGate = {
    sessions: [],
    arrivals: [],
    cancels: [],
    refuse: undefined,
    keptByPeople: new Map(),
    levelCovering: undefined,
    commitsHeld: false,
    get records() {
      return gate.sessions.flatMap((session) => session.records)
    },
    get texts() {
      return gate.records.filter((record) => record.kind === 'statement').map(({ text }) => text)
    },
    admit(arrival) {
      gate.arrivals.push(arrival)
      const refusal =
        gate.refuse?.(arrival) ??
        (arrival.evidence.kind === 'none'
          ? new SallyportError('evidence-missing', 'no certificate', {
              clientMessage: 'a client certificate is required',
            })
          : undefined)
      if (refusal !== undefined) return Promise.reject(refusal)
      const session = createFakeSession(arrival, options, cancels, gate)
      gate.sessions.push(session)
      return Promise.resolve(session)
    },
    lease(arrival) {
      const refusal = gate.refuse?.(arrival)
      if (refusal !== undefined) {
        gate.arrivals.push(arrival)
        return Promise.reject(refusal)
      }
      const same = gate.sessions.find(
        (session) =>
          !session.signal.aborted &&
          leases.isHeld(session) &&
          isSameEvidence(session.arrival, arrival) &&
          session.arrival.resource === arrival.resource &&
          session.arrival.wanted === arrival.wanted,
      )
      if (same !== undefined) {
        gate.arrivals.push(arrival)
        return Promise.resolve(leases.take(same))
      }
      return gate.admit(arrival).then((session) => leases.take(session as FakeSession))
    },
    browsers: {
      begin: ({ resource, level, port }) =>
        Promise.resolve({
          url: `https://control.example.com/apps/open?visit=${resource}.${level}.${port}`,
          binding: new Secret(fakeBinding),
        }),
      finish({ code, binding, resource }) {
        if (code.reveal() !== fakeCode || binding?.reveal() !== fakeBinding) {
          return Promise.reject(new SallyportError('evidence-invalid', 'another code or browser'))
        }
        const cookie = new Secret(`session-at-${resource}`)
        return Promise.resolve({ cookie, expiresAtMs: Date.now() + 3_600_000 })
      },
      signOutUrl: 'https://control.example.com/sign-out',
    },
    identifies: () => Promise.resolve(fakeIdentity()),
    identify: (evidence, remoteAddress) => gate.identifies(evidence, remoteAddress),
    recognises: () => Promise.resolve(true),
    signIn: (...given) =>
      options.signIn?.(...given) ??
      Promise.reject(new SallyportError('sign-in-unavailable', 'there is no provider here')),
    cancel(key) {
      gate.cancels.push(Buffer.from(key))
      cancels.get(key.toString('hex'))?.()
    },
  }
  return gate
}

/** Counted, as the real one has them; a session ends with its last lease, at once. */
class FakeLeases {
  readonly #open = new Map<FakeSession, Set<(target: Writable | undefined) => void>>()
  readonly #counts = new Map<FakeSession, number>()

  isHeld(session: FakeSession): boolean {
    return (this.#counts.get(session) ?? 0) > 0
  }

  take(session: FakeSession): Session {
    const drains = this.#open.get(session) ?? new Set()
    this.#open.set(session, drains)
    this.#counts.set(session, (this.#counts.get(session) ?? 0) + 1)
    session.onDrain((target) => {
      for (const drain of drains) drain(target)
    })
    let own: ((target: Writable | undefined) => void) | undefined
    let given: Promise<void> | undefined
    const giveBack = async (): Promise<void> => {
      if (own !== undefined) drains.delete(own)
      const left = this.#counts.get(session)! - 1
      this.#counts.set(session, left)
      if (left === 0) await session[Symbol.asyncDispose]()
    }
    const lease: Pick<Session, 'onDrain' | typeof Symbol.asyncDispose> = {
      onDrain(listener) {
        if (own !== undefined) drains.delete(own)
        own = listener
        drains.add(listener)
      },
      [Symbol.asyncDispose]: () => (given ??= giveBack()),
    }
    return Object.assign(Object.create(session) as Session, lease)
  }
}

/** What the console sends a browser back with, and what a browser keeps meanwhile. */
export const fakeCode = 'c'.repeat(43)
const fakeBinding = 'b'.repeat(43)

function isSameEvidence({ evidence: one }: Arrival, { evidence: other }: Arrival): boolean {
  if (one.kind === 'bearer' && other.kind === 'bearer') {
    return one.token.reveal() === other.token.reveal()
  }
  if (one.kind === 'browser-session' && other.kind === 'browser-session') {
    return one.cookie.reveal() === other.cookie.reveal()
  }
  return one.kind === 'client-certificate' && other.kind === 'client-certificate'
}

export function fakeIdentity(
  email = 'dev@example.test',
  { signal: expiry } = new AbortController(),
): Identity {
  const { signal } = new AbortController()
  const personId = randomUUID()
  return { realm: 'default', personId, personEmail: email, signal, expiry, [Symbol.dispose]() {} }
}

function createFakeSession(
  arrival: Arrival,
  options: FakeGateOptions,
  cancels: Map<string, () => void>,
  gate: Pick<FakeGate, 'commitsHeld' | 'keptByPeople' | 'levelCovering'>,
): FakeSession {
  const { upstream } = options
  const abort = new AbortController()
  const sockets = new Set<Pick<Downstream, 'destroy'>>()
  const recordings: FakeRecording[] = []
  let recordingsFull = false
  const records: FakeRecord[] = []
  const byId = new Map<number, FakeRecord>()
  const blobs = new Map<string, Buffer>()
  const lent: Secret<string>[] = []
  const batch = new ByteWriter(64 * 1024)
  const fields = new FieldWriter(batch)
  const closed = Promise.withResolvers<void>()
  const kept = new Map<symbol, Disposable>()
  let nextId = 1
  let queue: { target: Writable | undefined; chunk: Buffer; run: (() => void) | undefined }[] = []
  let queuedBytes = 0
  let scheduled = false
  let drainWanted = false
  let slow: Writable | undefined
  let onDrain: ((target: Writable | undefined) => void) | undefined
  let show: ((line: string) => void) | undefined
  let forwardedBytes = 0
  let downstreamBytes = 0
  let end: { reason: EndReason; error?: Error } | undefined
  let opened = false
  let isCut = false
  let disposing: Promise<void> | undefined
  let ownKey = ''

  const dial = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: upstream.host, port: upstream.port, noDelay: true })
      sockets.add(socket)
      const fail = ({ message }: Error): void =>
        reject(
          new SallyportError('upstream-unreachable', message, {
            clientMessage: 'the resource cannot be reached',
          }),
        )
      socket.once('close', () => {
        sockets.delete(socket)
        // Given up by a cut before it was there: nothing else says so.
        fail(new Error('given up'))
      })
      socket.once('connect', () => resolve(socket))
      socket.on('error', fail)
    })
  let firstDial: Promise<Socket> | undefined = dial()
  firstDial.catch(() => {})

  const flush = (): void => {
    scheduled = false
    if (gate.commitsHeld) {
      schedule()
      return
    }
    if (batch.length > 0) {
      options.spool?.(batch.bytes())
      batch.reset()
    }
    while (queue.length > 0 && slow === undefined && !abort.signal.aborted) {
      const { target, chunk, run } = queue.shift()!
      queuedBytes -= chunk.length
      forwardedBytes += chunk.length
      run?.()
      if (target !== undefined && !target.write(chunk)) {
        slow = target
        target.once('drain', () => {
          slow = undefined
          flush()
        })
      }
    }
    if (abort.signal.aborted) queue = []
    if (drainWanted && queue.length === 0 && slow === undefined) {
      drainWanted = false
      onDrain?.(undefined)
    }
  }
  const schedule = (): void => {
    if (scheduled) return
    scheduled = true
    setImmediate(flush)
  }
  const enqueue = (
    target: Writable | undefined,
    chunk: Buffer,
    run: (() => void) | undefined,
  ): boolean => {
    if (isCut) return false
    queue.push({ target, chunk, run })
    queuedBytes += chunk.length
    schedule()
    if (queuedBytes < (options.queueBytesMax ?? 1024 * 1024) && slow === undefined) return true
    drainWanted = true
    return false
  }
  const report = (activity: ActivitySource): number => {
    const id = nextId++
    const start = batch.length
    activity.encode(fields)
    if (options.spool === undefined) {
      const record: FakeRecord = {
        ...decodeActivity(Buffer.from(batch.bytes(start))),
        id,
        kind: activity.kind,
        outcomes: [],
      }
      records.push(record)
      byId.set(id, record)
    }
    schedule()
    return id
  }
  const destroyAll = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  const session: FakeSession = {
    arrival,
    records,
    blobs,
    lent,
    closed: closed.promise,
    upstream,
    signal: abort.signal,
    labels: {
      realm: 'default',
      sessionId: randomUUID(),
      grantId: randomUUID(),
      personId: randomUUID(),
      personEmail: 'dev@example.test',
      resource: arrival.resource ?? '',
      protocol: arrival.protocol,
      level: levels.find((level) => level === arrival.wanted) ?? options.level ?? 'read',
      expiresAtMs: Number.MAX_SAFE_INTEGER,
    },
    get ended() {
      return end
    },
    get isOpen() {
      return opened
    },
    get forwardedBytes() {
      return forwardedBytes
    },
    get downstreamBytes() {
      return downstreamBytes
    },
    connect() {
      const dialled = firstDial ?? dial()
      firstDial = undefined
      return dialled
    },
    borrow() {
      const secret = new Secret(options.secret)
      lent.push(secret)
      return Promise.resolve({ account: options.account, secret })
    },
    attach(downstream) {
      sockets.add(downstream)
      downstream.once('close', () => sockets.delete(downstream))
      return () => sockets.delete(downstream)
    },
    recordings,
    get recordingsFull() {
      return recordingsFull
    },
    set recordingsFull(isFull) {
      recordingsFull = isFull
      if (!isFull) onDrain?.(undefined)
    },
    ...(options.ssh === undefined ? {} : { ssh: options.ssh }),
    ...(options.http === undefined ? {} : { http: options.http }),
    keep<T extends Disposable>(key: symbol, make: () => T, by?: 'session' | 'person'): T {
      const things = by === 'person' ? gate.keptByPeople : kept
      const found = things.get(key) ?? make()
      things.set(key, found)
      return found as T
    },
    get isCut() {
      return isCut
    },
    isOver: false,
    expiresAtMs: Number.MAX_SAFE_INTEGER,
    warning: undefined,
    levelCovering: (need) => (arrival.wanted === '' ? gate.levelCovering?.(need) : undefined),
    assertion: () => 'fake.assertion.signed',
    certify: (...given) => options.certify?.(...given) ?? Promise.resolve(undefined),
    record(kind, header) {
      const made: FakeRecording = { kind, header, parts: [], ended: false }
      recordings.push(made)
      const recording: Recording = {
        write(from, bytes) {
          made.parts.push({ from, bytes: Buffer.from(bytes) })
          return !recordingsFull
        },
        resize: (columns, rows) => void made.parts.push({ columns, rows }),
        mark: (mark) => void made.parts.push({ mark }),
        end() {
          made.ended = true
        },
      }
      return recording
    },
    opened(notify) {
      if (abort.signal.aborted) throw new SallyportError('access-denied', 'cut meanwhile')
      opened = true
      show = notify
    },
    report,
    settle(id, outcome) {
      byId.get(id)?.outcomes.push({ ...outcome })
      if (options.spool === undefined) return
      batch.u64(id)
      batch.u64(outcome.durationUs)
      schedule()
    },
    forward: (target, chunk) => enqueue(target, chunk, undefined),
    forwardCall: (run) => enqueue(undefined, Buffer.alloc(0), run),
    onDrain(listener) {
      onDrain = listener
    },
    countDownstream(bytes) {
      downstreamBytes += bytes
    },
    spill() {
      const parts: Buffer[] = []
      return {
        write: (bytes) => void parts.push(Buffer.from(bytes)),
        abandon() {},
        finish(): BlobReference {
          const whole = Buffer.concat(parts)
          const sha256 = createHash('sha256').update(whole).digest()
          blobs.set(sha256.toString('hex'), whole)
          return { sha256, bytes: whole.length }
        },
      }
    },
    onCancel(cancel) {
      const key = randomBytes(8)
      ownKey = key.toString('hex')
      cancels.set(ownKey, cancel)
      return key
    },
    violated: ({ clientMessage, hint = '' }) =>
      session.cut('protocol-violation', clientMessage, hint),
    end(reason, error) {
      end ??= error === undefined ? { reason } : { reason, error }
    },
    beginCut() {
      isCut = true
      queue = []
      queuedBytes = 0
    },
    cut(
      reason = 'grant-expired',
      message = 'your grant has ended',
      hint = 'ask for another with `sally request`',
    ) {
      session.beginCut()
      const cut: Cut = { reason, orderedAtMs: Date.now(), message, hint }
      abort.abort(cut)
      setTimeout(destroyAll, options.farewellMs ?? 100)
    },
    notify(line) {
      session.warning = line
      show?.(line)
    },
    [Symbol.asyncDispose]() {
      disposing ??= Promise.resolve().then(() => {
        flush()
        cancels.delete(ownKey)
        destroyAll()
        for (const each of kept.values()) each[Symbol.dispose]()
        closed.resolve()
      })
      return disposing
    },
  }
  return session
}
