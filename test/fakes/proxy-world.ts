/** A gate with everything behind it real but control, the disk, the certificates and the resource. */
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { createKeySigner } from '../../certs/key-signer.ts'
import type { ApiClient } from '../../control/api/client.ts'
import type { FeedEvent } from '../../control/api/feed.ts'
import { resource as resourceShape, type Resource } from '../../control/api/resource.ts'
import { signToken, type GrantClaims, type LeaseClaims } from '../../control/api/tokens.ts'
import type { Arrival, Log } from '../../protocols/engine.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { defaultLimits, type Limits } from '../../protocols/kit/limits.ts'
import { Secret } from '../../protocols/kit/secret.ts'
import { createForwarder } from '../../proxy/audit/forwarder.ts'
import type { EventMeta, EventType, Spool } from '../../proxy/audit/spool-types.ts'
import type { Confirmation, ConfirmQuestion } from '../../proxy/control-link/confirmations.ts'
import { createControlClock } from '../../proxy/control-link/control-clock.ts'
import { createGate } from '../../proxy/gate.ts'
import { createControlView } from '../../proxy/grants/control-view.ts'
import { createFreshness } from '../../proxy/grants/freshness.ts'
import { loadAssertionKeys } from '../../proxy/identity/assertion-keys.ts'
import { createBrowserSessions } from '../../proxy/identity/browser-sessions.ts'
import { createIdentification } from '../../proxy/identity/identification.ts'
import { createIdentities } from '../../proxy/identity/identities.ts'
import {
  createIdentify,
  revokedError,
  type Identify,
  type Identity,
} from '../../proxy/identity/identify.ts'
import { limitIdentify } from '../../proxy/identity/limit-identify.ts'
import { createSignIns } from '../../proxy/identity/sign-in.ts'
import { createRecheck } from '../../proxy/identity/recheck.ts'
import { createRedeemApiToken } from '../../proxy/identity/redeem-api-token.ts'
import { createRedeem, firstToRedeem } from '../../proxy/identity/redeem.ts'
import type { Policy } from '../../proxy/policy/policy.ts'
import { createAuthorise } from '../../proxy/sessions/authorise.ts'
import type { CertifySession } from '../../proxy/sessions/credentials.ts'
import { createCancelKeys } from '../../proxy/sessions/cancel-keys.ts'
import { createSessions } from '../../proxy/sessions/create-session.ts'
import type { DialTarget, StartDial } from '../../proxy/sessions/dial.ts'
import { followPolicy } from '../../proxy/sessions/follow-policy.ts'
import { followView } from '../../proxy/sessions/follow-view.ts'
import { createLeases } from '../../proxy/sessions/leases.ts'
import { levelCovering, newestGrantOf } from '../../proxy/sessions/newest-grant.ts'
import { createRegistry } from '../../proxy/sessions/registry.ts'
import { watchOutage } from '../../proxy/sessions/watch-outage.ts'
import { createTestClock } from '../test-clock.ts'

export const person = '11111111-1111-4111-8111-111111111111'
export const otherPerson = '22222222-2222-4222-8222-222222222222'
export const proxyId = '33333333-3333-4333-8333-333333333333'
export const grantId = '44444444-4444-4444-8444-444444444444'

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** Control's signing key, and a stranger's. */
export function createSigningKey() {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const signer = createKeySigner(privateKey)
  const publicKeyPem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  return {
    kid: signer.kid,
    publicKeyPem,
    key: { kid: signer.kid, alg: 'EdDSA' as const, sign: (data: Uint8Array) => signer.sign(data) },
  }
}

/** A socket to a resource: remembers what it was given. */
export class FakeSocket extends Duplex {
  readonly remoteAddress: string = '127.0.0.1'
  readonly written: Buffer[] = []
  /** Takes nothing more, as a client that does not read. */
  isStuck = false

  constructor() {
    super({
      read() {},
      write: (chunk: Buffer, _encoding, done) => {
        this.written.push(chunk)
        if (!this.isStuck) done()
      },
      // The other side closes when this one does.
      final: (done) => {
        done()
        this.destroy()
      },
    })
  }

  get socket(): Socket {
    return this as unknown as Socket
  }
}

export interface FakeSpool extends Spool {
  readonly events: { type: EventType; sessionId: string | undefined; meta: EventMeta[EventType] }[]
  /** Entries of recordings, and how many events were before each. */
  readonly recorded: { type: string; number: number; events: number }[]
  commits: number
  /** Replaced by tests that hold a commit back. */
  commit: () => Promise<void>
  fail(failure: SallyportError): void
  isRefusing: boolean
}

function createFakeSpool(): FakeSpool {
  const listeners: ((failure: SallyportError) => void)[] = []
  let failure: SallyportError | undefined
  let activities = 0
  const spool: Partial<FakeSpool> & { isRefusing: boolean; commits: number } = {
    epoch: '55555555-5555-4555-8555-555555555555',
    events: [],
    recorded: [],
    commits: 0,
    isRefusing: false,
    commit: () => Promise.resolve(),
    fail(reason) {
      failure = reason
      for (const listener of listeners) listener(reason)
    },
    appendActivity: () => ++activities,
    appendOutcome() {},
    appendEvent(type, sessionId, meta) {
      if (failure !== undefined) throw failure
      spool.events!.push({ type, sessionId, meta })
    },
    appendRecorded(_session, { type, number }) {
      if (failure !== undefined) return undefined
      spool.recorded!.push({ type, number, events: spool.events!.length })
      return '\0'.repeat(32)
    },
    commitNow() {
      spool.commits += 1
      return failure === undefined ? spool.commit!() : Promise.reject(failure)
    },
    onFailure: (listener) => void listeners.push(listener),
    durableBatch: () => (failure === undefined ? Number.MAX_SAFE_INTEGER : -1),
    wait() {},
  }
  Object.defineProperty(spool, 'failure', { get: () => failure })
  Object.defineProperty(spool, 'refusing', {
    get: () => spool.isRefusing || failure !== undefined,
  })
  return spool as FakeSpool
}

export const ordersDb: Resource = resourceShape.parse({
  name: 'orders-db',
  protocol: 'postgres',
  address: { host: '127.0.0.1', port: 5432 },
  tls: { mode: 'disable' },
  levels: {
    read: { account: 'reader', secret: 'fake:orders-db/read' },
    write: { account: 'writer', secret: 'fake:orders-db/write' },
  },
})

export const anywhere: Policy = {
  secrets: [
    {
      reference: 'fake:**',
      matches: /^fake:/,
      addresses: [{ host: '127.0.0.1', port: 5432 }],
      serverName: undefined,
      tls: 'disable',
      caPem: undefined,
      levels: ['read', 'write'],
    },
  ],
}

export interface WorldOptions {
  readonly limits?: Partial<Limits>
  readonly policy?: Policy
  /** Default: one of its own, which goes when it is closed. */
  readonly stateDirectory?: string
}

export async function createProxyWorld(options: WorldOptions = {}) {
  const directory = options.stateDirectory ?? mkdtempSync(join(tmpdir(), 'proxy-world-'))
  const clock = createTestClock()
  const signing = createSigningKey()
  const limits: Limits = { ...defaultLimits, ...options.limits }
  const view = createControlView(silentLog)
  const controlClock = createControlClock(clock)
  const freshness = await createFreshness({
    directory,
    realm: 'default',
    proxyId,
    view,
    clock,
    controlClock,
    onDisk: () => 0,
    log: silentLog,
  })
  const spool = createFakeSpool()
  const registry = createRegistry({ spool, limits })
  const dialled: FakeSocket[] = []
  const targets: DialTarget[] = []
  const startDial: StartDial = (target) => {
    const socket = new FakeSocket()
    dialled.push(socket)
    targets.push(target)
    return { socket: Promise.resolve(socket.socket), destroy: () => void socket.destroy() }
  }
  const control = {
    linkState: 'up' as 'up' | 'away' | 'refused',
    asked: [] as ConfirmQuestion[],
    answer: (_question: ConfirmQuestion): Promise<Confirmation> =>
      Promise.resolve({ kind: 'denied', why: 'no-grant', position: 0 }),
    api: { call: () => Promise.reject(new Error('not asked for')) } as Pick<ApiClient, 'call'>,
    certify: ((_question) => Promise.reject(new Error('not asked for'))) as CertifySession,
  }
  const refused: { code: string }[] = []
  const metrics = {
    opened() {},
    ended() {},
    cut() {},
    admitted() {},
    identified() {},
    reported() {},
    webSockets() {},
    refused: (_protocol: string, code: string) => void refused.push({ code }),
  }
  const cancelKeys = createCancelKeys(clock, silentLog)
  let isDraining = false
  const identities = createIdentities({ realm: 'default', view, clock, controlClock })
  followView({ view, registry, clock })
  const policyListeners: (() => void)[] = []
  const policy = {
    current: options.policy ?? anywhere,
    onChange: (listener: () => void): void => void policyListeners.push(listener),
  }
  followPolicy({ policy, registry, clock })
  const stopWatching = watchOutage({
    registry,
    identities,
    freshness,
    isRefused: () => control.linkState === 'refused',
    clock,
  })
  spool.onFailure((failure) =>
    registry.cut(registry.all(), {
      reason: 'audit-unwritable',
      orderedAtMs: clock.wallMs(),
      detail: failure.message,
    }),
  )
  const fetched: string[] = []
  mkdirSync(directory, { recursive: true })
  const assertionKeys = loadAssertionKeys(directory)
  const shared = {
    spool,
    registry,
    startDial,
    clock,
    controlClock,
    limits,
    metrics,
    log: silentLog,
  }
  const createSession = createSessions({
    ...shared,
    createForwarder,
    cancelKeys,
    ...{ domain: 'access.test', assertionSigner: assertionKeys },
    certifySession: (question) => control.certify(question),
    stores: [
      {
        name: 'fake',
        fetch(path) {
          fetched.push(path)
          return Promise.resolve(new Secret(`secret of ${path}`))
        },
      },
    ],
  })
  const ask = (question: ConfirmQuestion): Promise<Confirmation> => {
    control.asked.push(question)
    return control.answer(question)
  }
  const identify = limitIdentify(
    createIdentify({
      realm: 'default',
      demo: false,
      authoritiesPem: () => [],
      view,
      factsOf: (known) => identities.factsOf(known),
      clock,
    }),
    clock,
  )
  const signIns = createSignIns({
    api: () => control.api,
    identities,
    clock,
    controlClock,
    limits,
  })
  const identification = createIdentification({
    ...{ ...shared, identify, identities, signIns, view },
    protocol: 'ssh',
  })
  const issuedAtMs = clock.wallMs() - 1_000
  const identifyByName: Identify = (evidence, remoteAddress) => {
    if (evidence.kind === 'ssh-key' || evidence.kind === 'identity') {
      return identify(evidence, remoteAddress)
    }
    if (evidence.kind !== 'client-certificate') {
      throw new SallyportError('evidence-missing', 'none')
    }
    const [personId = '', endsAtMs] = evidence.certificate.toString().split(' until ')
    const identity: Identity = {
      ...{ personId, email: 'dev@example.test', kind: 'certificate', serial: 'abc1', issuedAtMs },
      ...(endsAtMs === undefined ? {} : { expiresAtMs: Number(endsAtMs) }),
    }
    const objection = view.certificateObjection(identity)
    if (objection !== undefined) throw revokedError(objection, identity)
    return identity
  }
  const asking = { domain: 'access.test', ask, clock }
  const scope = { realm: 'default', group: 'default', domain: 'access.test' }
  const browserSessions = createBrowserSessions({ ...scope, view, controlClock })
  const gate = createGate({
    ...shared,
    domain: 'access.test',
    identify: identifyByName,
    redeem: firstToRedeem(
      browserSessions.redeem,
      createRedeemApiToken(asking),
      createRedeem(asking),
    ),
    authorise: createAuthorise({
      ...shared,
      realm: 'default',
      group: 'default',
      view,
      ask,
      freshness,
      policy,
      createSession,
    }),
    isDraining: () => isDraining,
  })

  const leases = createLeases({
    ...{ ...shared, domain: 'access.test', gate },
    recheck: createRecheck({ identify: identifyByName, browserSessions, view, controlClock }),
    newestGrant: (...of) => newestGrantOf(view, controlClock, ...of),
    levelCovering: (...of) => levelCovering(view, controlClock, ...of),
  })

  const claims = (changes: Partial<GrantClaims> = {}): GrantClaims => ({
    realm: 'default',
    grantId,
    revision: 1,
    personId: person,
    personEmail: 'dev@example.test',
    resource: 'orders-db',
    level: 'read',
    group: 'default',
    issuedAtMs: clock.wallMs(),
    notBeforeMs: clock.wallMs(),
    expiresAtMs: clock.wallMs() + 3_600_000,
    ...changes,
  })
  const grantToken = (changes: Partial<GrantClaims> = {}) =>
    signToken('grant', claims(changes), signing.key)
  const lease = (changes: Partial<LeaseClaims> = {}, key = signing.key) =>
    signToken(
      'lease',
      {
        realm: 'default',
        proxyId,
        position: view.position,
        issuedAtMs: clock.wallMs(),
        ...changes,
      },
      key,
    )
  let applying = Promise.resolve()
  const feed = (...events: FeedEvent[]): Promise<void> => {
    applying = applying.then(() => view.apply(view.position + 1, events))
    return applying
  }
  await feed(
    { kind: 'keys', keys: [{ kid: signing.kid, publicKeyPem: signing.publicKeyPem }] },
    { kind: 'resource', resource: ordersDb },
  )

  const arrival = (changes: Partial<Arrival> = {}, personId = person): Arrival => ({
    evidence: { kind: 'client-certificate', certificate: Buffer.from(personId) },
    protocol: 'postgres',
    resource: 'orders-db.access.test',
    wanted: '',
    remoteAddress: '127.0.0.1',
    remotePort: 1,
    attributes: {},
    ...changes,
  })
  const admit = (changes: Partial<Arrival> = {}, personId = person) =>
    gate.admit(arrival(changes, personId))
  /** Control says yes with a grant that the feed has brought. */
  const confirmGrant = async (changes: Partial<GrantClaims> = {}): Promise<string> => {
    const token = await grantToken(changes)
    control.answer = () => Promise.resolve({ kind: 'confirmed', token, position: view.position })
    return token
  }
  return {
    clock,
    directory,
    close(): void {
      stopWatching()
      if (options.stateDirectory === undefined) rmSync(directory, { recursive: true, force: true })
    },
    /** As after a reload. */
    changePolicy(next: Policy): void {
      policy.current = next
      for (const listener of policyListeners) listener()
    },
    signing,
    limits,
    view,
    controlClock,
    freshness,
    spool,
    registry,
    dialled,
    /** What was dialled, in the same order. */
    targets,
    control,
    refused,
    cancelKeys,
    fetched,
    gate,
    leases,
    assertionKeys,
    identities,
    identification,
    signIns,
    grantToken,
    lease,
    feed,
    admit,
    arrival,
    confirmGrant,
    stopWatching,
    drainNow: () => (isDraining = true),
    /** A session under a grant that the feed has brought, as its engine has it once the client is in. */
    async openSession(changes: Partial<GrantClaims> = {}) {
      const token = await confirmGrant(changes)
      await feed({ kind: 'grant', token })
      const session = await admit()
      const lines: string[] = []
      const downstream = new FakeSocket()
      session.attach(downstream.socket)
      const upstream = await session.connect()
      session.opened((line) => lines.push(line))
      return { session, lines, downstream, upstream }
    },
  }
}

export type ProxyWorld = Awaited<ReturnType<typeof createProxyWorld>>

/** Lets everything that waits for nothing but the event loop happen; signatures are verified off the loop. */
export async function turns(count = 10): Promise<void> {
  for (let turn = 0; turn < count; turn++) await nextTurn()
}

/** The outcome of a promise that the test's clock holds back: moves the clock until it settles. */
export async function advanceUntil<T>(world: ProxyWorld, promise: Promise<T>): Promise<T> {
  const state = { isSettled: false }
  const settled = (): void => void (state.isSettled = true)
  promise.then(settled, settled)
  for (let step = 0; !state.isSettled && step < 10_000; step++) {
    // Signatures are verified off the loop: the test's clock waits for them.
    await turns(3)
    await sleep(1)
    if (!state.isSettled) world.clock.advance(10)
  }
  return promise
}
