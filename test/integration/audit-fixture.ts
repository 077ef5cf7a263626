/** Control's audit over a store of each engine, with a clock that tests move. */
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { createKeySigner } from '../../certs/key-signer.ts'
import { auditQuery, segment, segmentsQuery, type Segment } from '../../control/api/shapes.ts'
import { rememberControlKey } from '../../control/audit/audit-keys.ts'
import type { AuditContext } from '../../control/audit/dependencies.ts'
import { createEnvelope, createSealedRootKey } from '../../control/audit/envelope.ts'
import { createIndexer, type Indexer } from '../../control/audit/indexer.ts'
import { createAuditMetrics } from '../../control/audit/metrics.ts'
import { readSegments } from '../../control/audit/read-segments.ts'
import { searchActivities, type ActivityPage } from '../../control/audit/search-activities.ts'
import { storeSegments, type SegmentsStored } from '../../control/audit/store-segments.ts'
import { openStores, type Store, type Stores } from '../../control/store/store.ts'
import { seedStores } from '../seed-stores.ts'
import { createTestClock, type TestClock } from '../test-clock.ts'
import { createFakeProxy, type FakeEpoch } from './audit-proxy.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'

export const engines = ['embedded', 'postgres'] as const
export const rootKey = createSealedRootKey(Buffer.alloc(32, 7))
/** Of those who may see everybody's sessions. */
export const everybody = { personId: undefined }
const { privateKey } = generateKeyPairSync('ed25519')

export interface AuditFixture {
  readonly store: Store
  /** Another replica's connections, where the engine has room for one; else the same. */
  readonly otherStore: Store
  readonly clock: TestClock
  readonly context: AuditContext
  /** Warnings and errors that were logged. */
  readonly errors: string[]
  readonly indexer: Indexer
  readonly contextOf: (store: Store) => AuditContext
  readonly ship: (epoch: FakeEpoch, body: Buffer) => Promise<SegmentsStored>
  readonly search: (query: Record<string, unknown>) => Promise<ActivityPage>
  readonly allSegments: (proxy: string, payloads: 'with' | 'without') => Promise<Segment[]>
}

interface Current {
  clock: TestClock
  context: AuditContext
  errors: string[]
  indexer: Indexer
}

/** To be called inside of `describe`: one store for all its tests, all else anew for each. */
export function auditFixture(engine: (typeof engines)[number]): AuditFixture {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-audit-'))
  let server: PostgresServer | undefined
  let stores: Stores
  let otherStores: Stores | undefined
  let current: Current

  beforeAll(async () => {
    if (engine === 'embedded') {
      await seedStores(join(directory, 'data'))
      stores = await openStores({ dataDir: join(directory, 'data') })
      return
    }
    server = await startPostgresServer()
    const options = { databaseUrl: await server.createDatabase() }
    stores = await openStores(options)
    otherStores = await openStores(options)
  })
  afterAll(async () => {
    await otherStores?.close()
    await stores.close()
    await server?.stop()
    rmSync(directory, { recursive: true, force: true })
  })

  const contextOf = (store: Store, clock: TestClock, errors: string[]): AuditContext => ({
    store,
    realm: 'default',
    envelope: createEnvelope({ store, rootKey, clock }),
    signer: createKeySigner(privateKey),
    clock,
    log: {
      info: () => {},
      warn: (_, message) => errors.push(message),
      error: (fields, message) => errors.push(`${message} ${JSON.stringify(fields)}`),
    },
    metrics: createAuditMetrics(new Registry()),
  })

  beforeEach(async () => {
    const clock = createTestClock()
    const errors: string[] = []
    const context = contextOf(stores.audit, clock, errors)
    await rememberControlKey(context)
    const indexer = createIndexer(context, { entriesAtOnce: 7, pollMs: 86_400_000 })
    current = { clock, context, errors, indexer }
  })
  afterEach(() => current.indexer.close())

  return {
    get store() {
      return stores.audit
    },
    get otherStore() {
      return (otherStores ?? stores).audit
    },
    get clock() {
      return current.clock
    },
    get context() {
      return current.context
    },
    get errors() {
      return current.errors
    },
    get indexer() {
      return current.indexer
    },
    contextOf: (store) => contextOf(store, current.clock, current.errors),
    ship: async (epoch, body) => storeSegments(current.context, await epoch.request(body)),
    search: (query) => searchActivities(current.context, auditQuery.parse(query)),
    async allSegments(proxy, payloads) {
      const items: Segment[] = []
      for (let cursor: string | undefined; ;) {
        const query = segmentsQuery.parse({ proxy, payloads, limit: 2, cursor })
        const page = await readSegments(current.context, query, () => Promise.resolve([]))
        items.push(...page.items.map((item) => segment.parse(item)))
        if (page.next === null) return items
        cursor = page.next
      }
    },
  }
}

export interface TwoBatches {
  epoch: FakeEpoch
  session: string
  one: Buffer
  two: Buffer
}

/** A session with statements in two batches; the second has the outcome of the first's last. */
export function twoBatches(): TwoBatches {
  const epoch = createFakeProxy().startEpoch()
  epoch.started()
  const session = epoch.opened()
  const first = epoch.statement(session, 'select 1')
  epoch.outcome(session, first)
  const second = epoch.statement(session, 'select $1', ['a', null])
  const one = epoch.batch()
  epoch.outcome(session, second, { status: 'error', errorCode: '42703', errorText: 'no column' })
  epoch.closed(session)
  return { epoch, session, one, two: epoch.batch() }
}

export async function collect(parts: AsyncIterable<Buffer>): Promise<string> {
  const all: Buffer[] = []
  for await (const part of parts) all.push(part)
  return Buffer.concat(all).toString()
}
