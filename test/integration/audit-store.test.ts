import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createKeySigner } from '../../certs/key-signer.ts'
import { decodeBatches } from '../../control/api/audit/decode.ts'
import { withholdPayloads } from '../../control/api/audit/withhold.ts'
import { verifySegments } from '../../control/api/audit/verify-chain.ts'
import {
  auditPage,
  auditQuery,
  segment,
  segmentsQuery,
  session,
  sessionsQuery,
  type Segment,
} from '../../control/api/shapes.ts'
import { readAuditKeys, rememberControlKey } from '../../control/audit/audit-keys.ts'
import { readBlob, storeBlobPart } from '../../control/audit/blobs.ts'
import type { AuditContext } from '../../control/audit/dependencies.ts'
import { createEnvelope, createSealedRootKey } from '../../control/audit/envelope.ts'
import { auditHandlers } from '../../control/audit/handlers.ts'
import { createIndexer, type Indexer } from '../../control/audit/indexer.ts'
import { placeLegalHold, releaseLegalHold } from '../../control/audit/legal-hold.ts'
import { createAuditMetrics } from '../../control/audit/metrics.ts'
import { openAudit } from '../../control/audit/open-audit.ts'
import { readQuarantine } from '../../control/audit/quarantine.ts'
import { readSegments } from '../../control/audit/read-segments.ts'
import { setRetentionClass } from '../../control/audit/retention-classes.ts'
import { runRetention } from '../../control/audit/retention.ts'
import { defaultSearchLimits, searchActivities } from '../../control/audit/search-activities.ts'
import { getSession, listSessions } from '../../control/audit/sessions.ts'
import { readAuditStatus } from '../../control/audit/status.ts'
import { storeSegments } from '../../control/audit/store-segments.ts'
import type { ControlAction } from '../../control/server/handlers.ts'
import { openStores, type Stores } from '../../control/store/store.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { createTestClock, type TestClock } from '../test-clock.ts'
import { createFakeProxy, openedMeta, type FakeEpoch } from './audit-proxy.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'

const directory = mkdtempSync(join(tmpdir(), 'sallyport-audit-'))
let server: PostgresServer

beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(async () => {
  await server.stop()
  rmSync(directory, { recursive: true, force: true })
})

const rootKey = createSealedRootKey(Buffer.alloc(32, 7))
const { privateKey } = generateKeyPairSync('ed25519')
const nobody = { personId: undefined }

describe.each(['embedded', 'postgres'] as const)('the audit in a %s store', (engine) => {
  let stores: Stores
  /** Another replica's connections, where the engine has room for one. */
  let otherStores: Stores | undefined
  let clock: TestClock
  let context: AuditContext
  let errors: string[]
  let indexer: Indexer

  const contextOf = (audit: Stores['audit']): AuditContext => ({
    store: audit,
    realm: 'default',
    envelope: createEnvelope({ store: audit, rootKey, clock }),
    signer: createKeySigner(privateKey),
    clock,
    log: {
      info: () => {},
      warn: (_, message) => errors.push(message),
      error: (fields, message) => errors.push(`${message} ${JSON.stringify(fields)}`),
    },
    metrics: createAuditMetrics(new Registry()),
  })

  beforeAll(async () => {
    const options =
      engine === 'embedded'
        ? { dataDir: join(directory, 'data') }
        : { databaseUrl: await server.createDatabase() }
    stores = await openStores(options)
    if (engine === 'postgres') otherStores = await openStores(options)
  })
  afterAll(async () => {
    await otherStores?.close()
    await stores.close()
  })
  beforeEach(async () => {
    clock = createTestClock()
    errors = []
    context = contextOf(stores.audit)
    await rememberControlKey(context)
    indexer = createIndexer(context, { entriesAtOnce: 7, pollMs: 86_400_000 })
  })
  afterEach(() => indexer.close())

  const ship = async (epoch: FakeEpoch, body: Buffer) =>
    storeSegments(context, await epoch.request(body))
  const search = (query: Record<string, unknown>) =>
    searchActivities(context, auditQuery.parse(query))
  const allSegments = async (proxy: string, payloads: 'with' | 'without') => {
    const items = []
    for (let cursor: string | undefined; ;) {
      const query = segmentsQuery.parse({ proxy, payloads, limit: 2, cursor })
      const page = await readSegments(context, query, () => Promise.resolve([]))
      items.push(...page.items.map((item) => segment.parse(item)))
      if (page.next === null) return items
      cursor = page.next
    }
  }

  /** A session with statements in two batches; the second has the outcome of the first's last. */
  const twoBatches = () => {
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

  test('what was shipped is found, with parameters and outcomes, and verifies', async () => {
    const { epoch, session: id, one, two } = twoBatches()
    expect(await ship(epoch, one)).toMatchObject({ acknowledgedBatch: 1, quarantined: 0 })
    expect(await getSession(context, id, nobody)).toMatchObject({ state: 'live', statements: 2 })
    await indexer.idle()
    expect((await search({ session: id })).items.map((item) => item.outcome)).toEqual([
      null,
      expect.objectContaining({ status: 'ok', rows: 1, tag: 'SELECT 1' }),
    ])
    expect(await ship(epoch, two)).toMatchObject({ acknowledgedBatch: 2, quarantined: 0 })
    await indexer.idle()
    const found = auditPage.parse({ ...(await search({ session: id })), indexLagMs: 0 })
    expect(found.items).toMatchObject([
      {
        text: 'select $1',
        parameters: [{ form: 'text', value: 'a' }, { form: 'null' }],
        personEmail: 'dev@example.test',
        resource: 'orders-db',
        outcome: { status: 'error', errorCode: '42703', errorText: 'no column' },
      },
      { text: 'select 1', outcome: { status: 'ok' } },
    ])
    expect(session.parse(await getSession(context, id, nobody))).toMatchObject({
      state: 'closed',
      endReason: 'client-closed',
      statements: 1,
    })
    const keys = await readAuditKeys(context)
    for (const payloads of ['with', 'without'] as const) {
      const segments = await allSegments(epoch.proxy.proxyId, payloads)
      const report = await verifySegments(segments, keys)
      expect(report).toMatchObject({ ok: true, damage: [], batches: 2, entries: 7 })
      const bytes = Buffer.concat(segments.map((item) => Buffer.from(item.batches, 'base64')))
      if (payloads === 'with') expect(bytes).toEqual(Buffer.concat([one, two]))
      else expect(bytes.includes('select')).toBe(false)
    }
    expect(errors).toEqual([])
  })

  test('the same again is acknowledged and stored once, also when it overlaps', async () => {
    const { epoch, session: id, one, two } = twoBatches()
    await ship(epoch, one)
    expect(await ship(epoch, one)).toMatchObject({ acknowledgedBatch: 1, quarantined: 0 })
    expect(await ship(epoch, Buffer.concat([one, two]))).toMatchObject({ acknowledgedBatch: 2 })
    expect(await ship(epoch, two)).toMatchObject({ acknowledgedBatch: 2, quarantined: 0 })
    expect(await ship(epoch, one)).toMatchObject({ acknowledgedBatch: 1, quarantined: 0 })
    await indexer.idle()
    expect((await search({ session: id })).items).toHaveLength(2)
    const segments = await allSegments(epoch.proxy.proxyId, 'with')
    expect(segments.map((item) => [item.firstBatch, item.lastBatch])).toEqual([
      [1, 1],
      [2, 2],
    ])
    expect(await verifySegments(segments, await readAuditKeys(context))).toMatchObject({ ok: true })
    expect(errors).toEqual([])
  })

  test('another batch under a stored number goes to quarantine, verbatim, and is acknowledged', async () => {
    const { epoch, session: id, one, two } = twoBatches()
    await ship(epoch, Buffer.concat([one, two]))
    epoch.rewindTo(one)
    epoch.statement(id, 'select something else')
    const fork = epoch.batch()
    epoch.statement(id, 'select after the fork')
    const after = epoch.batch()
    const body = Buffer.concat([one, fork, after])
    const answer = await ship(epoch, body)
    expect(answer).toMatchObject({ acknowledgedBatch: 3, quarantined: 2 })
    // Sent again: acknowledged again, kept once.
    expect(await ship(epoch, body)).toMatchObject({ acknowledgedBatch: 3, quarantined: 2 })
    // The fork goes on: it must not block the proxy.
    epoch.statement(id, 'select later')
    expect(await ship(epoch, epoch.batch())).toMatchObject({
      acknowledgedBatch: 4,
      quarantined: 1,
    })
    const kept = await stores.audit.query<{ quarantine_id: number }>(
      'select quarantine_id from audit_quarantine where proxy_id = $1 order by quarantine_id',
      [epoch.proxy.proxyId],
    )
    expect(kept).toHaveLength(2)
    const first = await readQuarantine(context, kept[0]!.quarantine_id)
    expect(first?.bytes).toEqual(Buffer.concat([fork, after]))
    expect(first?.why).toContain('batch 2 is stored with another link')
    const raw = await stores.audit.query<{ ciphertext: Buffer }>(
      'select ciphertext from audit_quarantine where quarantine_id = $1',
      [kept[0]!.quarantine_id],
    )
    expect(raw[0]!.ciphertext.includes('something')).toBe(false)
    const status = await readAuditStatus(context, () => Promise.resolve([]))
    const own = status.proxies.find((proxy) => proxy.proxyId === epoch.proxy.proxyId)
    expect(own).toMatchObject({ quarantined: 3, entriesReceived: 7 })
    expect(errors.join()).toContain('quarantine')
    const segments = await allSegments(epoch.proxy.proxyId, 'with')
    expect(await verifySegments(segments, await readAuditKeys(context))).toMatchObject({ ok: true })
  })

  test('a gap is refused, and says which batch is expected', async () => {
    const { epoch, two } = twoBatches()
    await expect(ship(epoch, two)).rejects.toMatchObject({
      code: 'audit-gap',
      clientMessage: expect.stringContaining('expected batch 1 of'),
    })
    const stored = await stores.audit.query('select 1 from audit_chains where epoch = $1', [
      epoch.epoch,
    ])
    expect(stored).toEqual([])
  })

  test('a torn, changed or foreign body is refused whole', async () => {
    const { epoch, one, two } = twoBatches()
    const torn = Buffer.concat([one, two.subarray(0, two.length - 1)])
    const request = await epoch.request(one)
    await expect(storeSegments(context, { ...request, body: torn })).rejects.toMatchObject({
      code: 'audit-corrupt',
    })
    for (const at of [60, 100, one.length - 40, one.length - 1]) {
      const flipped = Buffer.from(one)
      flipped[at] = flipped[at]! ^ 1
      const body = { ...request, body: flipped }
      await expect(storeSegments(context, body)).rejects.toMatchObject({ code: 'audit-corrupt' })
    }
    const other = twoBatches()
    const mixed = { ...request, body: Buffer.concat([one, other.two]) }
    await expect(storeSegments(context, mixed)).rejects.toMatchObject({ code: 'audit-corrupt' })
    const withheld = withholdPayloads(decodeBatches(one)[0]!, () => false)
    await expect(storeSegments(context, await epoch.request(withheld))).rejects.toMatchObject({
      code: 'audit-corrupt',
    })
    await expect(
      storeSegments(context, { ...request, body: Buffer.alloc(0) }),
    ).rejects.toMatchObject({ code: 'audit-corrupt' })
  })

  test('a checkpoint that is not this head, or not this proxy’s, is refused', async () => {
    const { epoch, one, two } = twoBatches()
    const wrong = [
      { batch: 2 },
      { sequence: 99 },
      { link: '0'.repeat(64) },
      { epoch: randomUUID() },
      { chain: randomUUID() },
      { realm: 'other' },
    ]
    for (const claims of wrong) {
      const request = await epoch.request(one, claims)
      await expect(storeSegments(context, request)).rejects.toMatchObject({
        code: 'evidence-invalid',
      })
    }
    const request = await epoch.request(one)
    const stranger = createFakeProxy(epoch.proxy.proxyId)
    const byOther = { ...request, proxy: stranger }
    await expect(storeSegments(context, byOther)).rejects.toMatchObject({
      code: 'evidence-invalid',
    })
    await storeSegments(context, request)
    // Renewed since: what the earlier key signed still counts.
    const renewed = { ...(await epoch.request(two)), proxy: stranger }
    expect(await storeSegments(context, renewed)).toMatchObject({ acknowledgedBatch: 2 })
  })

  test('sessions: cut with its proof, lists by person, state and grant, pages, own ones only', async () => {
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const grantId = randomUUID()
    const mine = randomUUID()
    const first = epoch.opened({ grantId })
    const second = epoch.opened({ grantId, personEmail: 'oncall@example.test', personId: mine })
    const third = epoch.opened({ grantId, resource: 'other-db' })
    epoch.cut(first, 'grant-revoked', 1_767_225_600_000)
    const cut = {
      reason: 'grant-revoked',
      orderedAtMs: 1_767_225_600_000,
      lastByteAtMs: 1_767_225_600_001,
      closedAtMs: 1_767_225_600_002,
    }
    epoch.closed(first, { reason: 'grant-revoked', cut, statements: 5 })
    await ship(epoch, epoch.batch())
    expect(session.parse(await getSession(context, first, nobody))).toMatchObject({
      state: 'closed',
      endReason: 'grant-revoked',
      cut,
      statements: 5,
    })
    const list = async (query: Record<string, unknown>, personId?: string) => {
      const page = await listSessions(context, sessionsQuery.parse({ grant: grantId, ...query }), {
        personId,
      })
      return { ids: page.items.map((item) => session.parse(item).id), next: page.next }
    }
    const everyone = await list({})
    expect(new Set(everyone.ids)).toEqual(new Set([first, second, third]))
    expect((await list({ state: 'closed' })).ids).toEqual([first])
    expect(new Set((await list({ state: 'live' })).ids)).toEqual(new Set([second, third]))
    expect((await list({ resource: 'other-db' })).ids).toEqual([third])
    expect((await list({ person: 'oncall@example.test' })).ids).toEqual([second])
    expect((await list({}, mine)).ids).toEqual([second])
    const paged: string[] = []
    for (let cursor: string | undefined; ;) {
      const page = await list({ limit: 1, cursor })
      paged.push(...page.ids)
      if (page.next === null) break
      cursor = page.next
    }
    expect(paged).toEqual(everyone.ids)
    const other = { personId: mine }
    await expect(getSession(context, first, other)).rejects.toMatchObject({ code: 'not-found' })
    await expect(list({ cursor: 'bm9wZQ' })).rejects.toMatchObject({ code: 'request-invalid' })
  })

  test('a proxy that died: its sessions are lost, unsettled statements unknown, in any order', async () => {
    for (const newFirst of [false, true]) {
      const proxy = createFakeProxy()
      const old = proxy.startEpoch()
      old.started()
      const id = old.opened()
      const settled = old.statement(id, 'select settled')
      old.outcome(id, settled)
      old.statement(id, 'select lost')
      const before = old.batch()
      const next = proxy.startEpoch()
      next.nowUs = old.nowUs + 1_000_000
      next.started([id], old.head)
      const after = next.batch()
      if (newFirst) await ship(next, after)
      await ship(old, before)
      if (!newFirst) {
        await indexer.idle()
        expect((await search({ session: id })).items[0]).toMatchObject({ outcome: null })
        await ship(next, after)
      }
      await indexer.idle()
      expect(await getSession(context, id, nobody)).toMatchObject({
        state: 'closed',
        endReason: 'proxy-lost',
      })
      expect((await search({ session: id, order: 'oldest' })).items).toMatchObject([
        { text: 'select settled', outcome: { status: 'ok' } },
        { text: 'select lost', outcome: { status: 'unknown', rows: null } },
      ])
    }
  })

  test('a proxy speaks for its own sessions only', async () => {
    const honest = createFakeProxy().startEpoch()
    honest.started()
    const id = honest.opened()
    honest.outcome(id, honest.statement(id, 'select honest'))
    await ship(honest, honest.batch())
    const hostile = createFakeProxy().startEpoch()
    hostile.started([id])
    hostile.opened({ personEmail: 'oncall@example.test' }, id)
    hostile.outcome(id, hostile.statement(id, 'select slander'))
    hostile.cut(id, 'idle', 1)
    hostile.closed(id)
    await ship(hostile, hostile.batch())
    await indexer.idle()
    expect(await getSession(context, id, nobody)).toMatchObject({
      state: 'live',
      personEmail: 'dev@example.test',
      proxyId: honest.proxy.proxyId,
      cut: null,
    })
    expect((await search({ session: id })).items.map((item) => item.text)).toEqual([
      'select honest',
    ])
    expect(errors.join()).toContain('do not fit its sessions')
    // Stored all the same.
    const segments = await allSegments(hostile.proxy.proxyId, 'with')
    expect(Buffer.from(segments[0]!.batches, 'base64').includes('slander')).toBe(true)
  })

  test('entries that nobody understands are stored and pass by', async () => {
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const id = epoch.opened()
    epoch.raw('session-opened', randomUUID(), Buffer.from('not json'))
    epoch.raw('session-opened', randomUUID(), Buffer.from('{"personId":1}'))
    epoch.raw('session-closed', undefined, Buffer.from('{}'))
    epoch.raw('activity', id, Buffer.from([1]), Buffer.from([1, 255, 255, 255, 255, 0]))
    epoch.raw('activity', id, Buffer.alloc(0), Buffer.alloc(0))
    epoch.raw('activity', undefined, Buffer.from([1]), Buffer.from([1, 0, 0, 0, 1, 65]))
    epoch.raw('activity', randomUUID(), Buffer.from([1]), Buffer.from([1, 0, 0, 0, 1, 65]))
    epoch.raw('outcome', id, Buffer.from([9]))
    epoch.outcome(id, 12_345)
    epoch.outcome(id, epoch.statement(id, 'select fine'))
    await ship(epoch, epoch.batch())
    await indexer.idle()
    expect((await search({ session: id })).items.map((item) => item.text)).toEqual(['select fine'])
    expect(errors.some((line) => line.includes('cannot be indexed'))).toBe(true)
    expect(errors.some((line) => line.includes('tried again'))).toBe(false)
  })

  test('search: wildcards, quotes, case, NUL, bytes that are no text', async () => {
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const id = epoch.opened()
    const texts = [
      `select '100%' from "Äpfel" where a = 'it''s'`,
      'select 100x from t_1',
      String.raw`select E'\\n' from tx1`,
      'select \0 null',
      Buffer.from([0x73, 0xff, 0xfe, 0x74]),
      'x'.repeat(70_000),
    ]
    for (const text of texts) epoch.outcome(id, epoch.statement(id, text, ['a\0b', '\ud800']))
    const body = epoch.batch()
    await ship(epoch, body)
    await indexer.idle()
    const found = async (text: string) =>
      (await search({ session: id, text, order: 'oldest' })).items.map((item) => item.sequence)
    const all = (await search({ session: id, order: 'oldest' })).items
    const sequences = all.map((item) => item.sequence)
    expect(all[3]!.text).toBe('select ␀ null')
    expect(all[4]!.text).toBe('s\ufffd\ufffdt')
    expect(all[5]!.text).toHaveLength(65_536)
    expect(all[0]!.parameters).toEqual([
      { form: 'text', value: 'a␀b' },
      { form: 'text', value: '\ufffd' },
    ])
    expect(await found('100%')).toEqual([sequences[0]])
    expect(await found('t_1')).toEqual([sequences[1]])
    expect(await found('\\')).toEqual([sequences[2]])
    expect(await found('\0')).toEqual([sequences[3]])
    expect(await found(`it''s`)).toEqual([sequences[0]])
    expect(await found(`'; drop table sessions; --`)).toEqual([])
    expect(await found('SELECT')).toEqual(sequences.slice(0, 4))
    expect(await found('äPFEL')).toEqual([sequences[0]])
    // Verbatim all the same.
    const [stored] = await allSegments(epoch.proxy.proxyId, 'with')
    expect(Buffer.from(stored!.batches, 'base64')).toEqual(body)
  })

  test('search: filters, order, pages through windows, and a deadline that says where to go on', async () => {
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const resource = `r${randomUUID().slice(0, 8)}`
    const person = `${resource}@example.test`
    const mine = epoch.opened({ resource, personEmail: person })
    const others = epoch.opened({ resource })
    for (let n = 0; n < 40; n += 1) {
      const id = n % 2 === 0 ? mine : others
      epoch.outcome(id, epoch.statement(id, `select ${n} ${n % 10 === 0 ? 'rare' : 'common'}`))
    }
    await ship(epoch, epoch.batch())
    await indexer.idle()
    const numbers = async (query: Record<string, unknown>, limits = defaultSearchLimits) => {
      const seen: number[] = []
      let pages = 0
      for (let cursor: string | undefined; ; pages += 1) {
        const parsed = auditQuery.parse({ resource, ...query, cursor })
        const page = await searchActivities(context, parsed, limits)
        seen.push(...page.items.map((item) => Number(item.text.split(' ')[1])))
        if (page.next === null) return { seen, pages: pages + 1 }
        cursor = page.next
      }
    }
    const up = Array.from({ length: 40 }, (_, n) => n)
    expect(await numbers({})).toEqual({ seen: up.toReversed(), pages: 1 })
    expect(await numbers({ order: 'oldest', limit: 7 })).toEqual({ seen: up, pages: 6 })
    expect((await numbers({ limit: 3 })).seen).toEqual(up.toReversed())
    const even = up.filter((n) => n % 2 === 0)
    expect((await numbers({ person, order: 'oldest' })).seen).toEqual(even)
    const narrow = { ...defaultSearchLimits, rowsAtOnce: 6 }
    expect((await numbers({ text: 'RARE', order: 'oldest' }, narrow)).seen).toEqual([0, 10, 20, 30])
    expect((await numbers({ text: 'rare', limit: 3 }, narrow)).seen).toEqual([30, 20, 10, 0])
    const hurried = { ...narrow, deadlineMs: 0 }
    const slow = await numbers({ text: 'rare' }, hurried)
    expect(slow.seen).toEqual([30, 20, 10, 0])
    expect(slow.pages).toBeGreaterThan(4)
    const middle = Math.floor(epoch.nowUs / 1_000)
    expect((await numbers({ since: middle + 1 })).seen).toEqual([])
    expect((await numbers({ until: middle, since: Date.UTC(2026, 0, 1) })).seen).toHaveLength(40)
    await expect(numbers({ cursor: undefined, text: 'x', session: mine })).resolves.toBeDefined()
    await expect(search({ cursor: 'WzEsMiwiYSJd' })).rejects.toMatchObject({
      code: 'request-invalid',
    })
  })

  test('activities lie in the partition of their day; clocks years off in the default one', async () => {
    const epoch = createFakeProxy().startEpoch()
    const dayUs = 86_400_000_000
    epoch.started()
    const id = epoch.opened()
    epoch.outcome(id, epoch.statement(id, 'today'))
    epoch.nowUs += dayUs
    epoch.outcome(id, epoch.statement(id, 'tomorrow'))
    epoch.nowUs += 9_000 * dayUs
    epoch.outcome(id, epoch.statement(id, 'in decades'))
    await ship(epoch, epoch.batch())
    await indexer.idle()
    const rows = await stores.audit.query<{ text: string; partition: string }>(
      `select text, tableoid::regclass::text as partition from audit_activities
       where session_id = $1 order by at_us`,
      [id],
    )
    expect(rows).toEqual([
      { text: 'today', partition: 'audit_activities_20260101' },
      { text: 'tomorrow', partition: 'audit_activities_20260102' },
      { text: 'in decades', partition: 'audit_activities_default' },
    ])
    expect((await search({ session: id })).items).toHaveLength(3)
  })

  test('retention destroys key, payloads, blobs and index; the chain verifies; holds stop it', async () => {
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const retention = 'short'
    await setRetentionClass(stores.audit, 'default', retention, 7)
    const gone = epoch.opened({ retention })
    const held = epoch.opened({ retention })
    const personHeld = epoch.opened({ retention, personEmail: 'held@example.test' })
    const flagged = epoch.opened({ retention })
    const live = epoch.opened({ retention, expiresAtMs: clock.wallMs() + 30 * 86_400_000 })
    const standard = epoch.opened()
    const all = [gone, held, personHeld, flagged, live, standard]
    for (const id of all) {
      epoch.outcome(id, epoch.statement(id, `select 'words of ${id}'`))
      if (id !== live) epoch.closed(id)
    }
    const body = epoch.batch()
    const sha256 = createHash('sha256').update('long text').digest('hex')
    const blob = { proxyId: epoch.proxy.proxyId, session: gone, sha256 }
    await storeBlobPart(context, { ...blob, offset: 0, total: 9, bytes: Buffer.from('long text') })
    await ship(epoch, body)
    await indexer.idle()
    const hold = {
      kind: 'session',
      selector: held,
      reason: 'case 1',
      madeBy: 'a@example.test',
    } as const
    const holdId = await placeLegalHold(context, hold)
    await placeLegalHold(context, { ...hold, kind: 'person', selector: 'held@example.test' })
    await stores.audit.query(
      'update audit_session_keys set legal_hold = true where session_id = $1',
      [flagged],
    )
    const announced: string[] = []
    const announce = (sessions: readonly { sessionId: string }[]) => {
      announced.push(...sessions.map((item) => item.sessionId))
      return Promise.resolve()
    }
    clock.advance(6 * 86_400_000)
    await runRetention(context, { announce })
    expect(announced).toEqual([])
    clock.advance(2 * 86_400_000)
    const refused = runRetention(context, {
      announce: () => Promise.reject(new Error('chain cannot be written')),
    })
    await expect(refused).rejects.toThrow('chain cannot be written')
    expect((await search({ session: gone })).items).toHaveLength(1)
    const result = await runRetention(context, { announce })
    expect(announced.filter((id) => all.includes(id))).toEqual([gone])
    expect(result.sessions).toBe(announced.length)
    const texts = async () => {
      const [stored] = await allSegments(epoch.proxy.proxyId, 'with')
      const [batch] = decodeBatches(Buffer.from(stored!.batches, 'base64'))
      return all.map((id) => batch!.bytes.includes(`words of ${id}`))
    }
    expect(await texts()).toEqual([false, true, true, true, true, true])
    for (const id of all) {
      const { items } = await search({ session: id })
      expect(items).toHaveLength(id === gone ? 0 : 1)
    }
    expect(await collect(readBlob(context, blob))).toBe('')
    const keys = await readAuditKeys(context)
    const report = await verifySegments(await allSegments(epoch.proxy.proxyId, 'with'), keys)
    expect(report).toMatchObject({ ok: true, damage: [] })
    expect(report.chains[0]!.epochs[0]!.payloadsWithheld).toBe(1)
    await releaseLegalHold(context, holdId, 'a@example.test')
    await runRetention(context, { announce })
    expect(await texts()).toEqual([false, false, true, true, true, true])
    // What comes late, for a session whose key is gone, is kept for its time too.
    epoch.statement(gone, 'select late')
    await ship(epoch, epoch.batch())
    const late = (await allSegments(epoch.proxy.proxyId, 'with')).at(-1)!
    expect(Buffer.from(late.batches, 'base64').includes('select late')).toBe(true)
    // Days that are empty and over lose their partition.
    clock.advance(800 * 86_400_000)
    await stores.audit.query(`update audit_session_keys set legal_hold = false`)
    await stores.audit.query(`delete from legal_holds`)
    const last = await runRetention(context, { announce })
    expect(errors).toEqual([])
    expect(last.partitionsDropped).toContain('audit_activities_20260101')
    expect((await search({ session: standard })).items).toEqual([])
  })

  test('blobs: parts in order, again, wrong hash, encrypted, read back', async () => {
    const proxyId = randomUUID()
    const id = randomUUID()
    const whole = Buffer.alloc(300_000, 'a long statement; ')
    const sha256 = createHash('sha256').update(whole).digest('hex')
    const part = (offset: number, end: number) =>
      storeBlobPart(context, {
        proxyId,
        session: id,
        sha256,
        offset,
        total: whole.length,
        bytes: whole.subarray(offset, end),
      })
    await expect(part(100_000, 200_000)).rejects.toMatchObject({ code: 'request-invalid' })
    await part(0, 100_000)
    await part(0, 100_000)
    await expect(part(200_000, 300_000)).rejects.toMatchObject({ code: 'request-invalid' })
    await part(100_000, 200_000)
    expect(await collect(readBlob(context, { proxyId, session: id, sha256 }))).toBe('')
    await part(200_000, 300_000)
    await part(200_000, 300_000)
    const read = await collect(readBlob(context, { proxyId, session: id, sha256 }))
    expect(read).toBe(whole.toString())
    const raw = await stores.audit.query<{ ciphertext: Buffer }>(
      `select p.ciphertext from audit_blob_parts p join audit_blobs b using (blob_id)
       where b.session_id = $1`,
      [id],
    )
    expect(raw).toHaveLength(3)
    expect(raw.some(({ ciphertext }) => ciphertext.includes('statement'))).toBe(false)
    const lie = { proxyId, session: id, sha256: '0'.repeat(64), offset: 0, total: 3 }
    await expect(
      storeBlobPart(context, { ...lie, bytes: Buffer.from('abc') }),
    ).rejects.toMatchObject({ code: 'audit-corrupt' })
    expect(await collect(readBlob(context, lie))).toBe('')
    await expect(
      storeBlobPart(context, { ...lie, total: 2 ** 31, bytes: Buffer.from('abc') }),
    ).rejects.toMatchObject({ code: 'request-invalid' })
  })

  test('a blob may come before its session; the key then moves to the session’s class', async () => {
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const id = randomUUID()
    const sha256 = createHash('sha256').update('early').digest('hex')
    const blob = { proxyId: epoch.proxy.proxyId, session: id, sha256 }
    await storeBlobPart(context, { ...blob, offset: 0, total: 5, bytes: Buffer.from('early') })
    epoch.opened({ retention: 'special' }, id)
    await ship(epoch, epoch.batch())
    const [key] = await stores.audit.query(
      'select retention_class from audit_session_keys where session_id = $1',
      [id],
    )
    expect(key).toEqual({ retention_class: 'special' })
    expect(await collect(readBlob(context, blob))).toBe('early')
  })

  test('two replicas take in and index the same chains at once', async () => {
    const other = contextOf((otherStores ?? stores).audit)
    const otherIndexer = createIndexer(other, { entriesAtOnce: 5 })
    const epochs = Array.from({ length: 4 }, () => createFakeProxy().startEpoch())
    const ids = epochs.map((epoch) => {
      epoch.started()
      return epoch.opened()
    })
    await Promise.all(
      epochs.map(async (epoch, index) => {
        const id = ids[index]!
        let before: Buffer = Buffer.alloc(0)
        for (let round = 0; round < 5; round += 1) {
          for (let n = 0; n < 10; n += 1) epoch.outcome(id, epoch.statement(id, `select ${n}`))
          const body = epoch.batch()
          const request = await epoch.request(body)
          const again = await epoch.request(Buffer.concat([before, body]))
          const answers = await Promise.all([
            storeSegments(context, request),
            storeSegments(other, again),
            storeSegments(other, request),
          ])
          for (const answer of answers) {
            expect(answer).toMatchObject({ acknowledgedBatch: round + 1, quarantined: 0 })
          }
          before = body
          indexer.ring()
          otherIndexer.ring()
        }
      }),
    )
    // A claim of the one may hide what is left from the other for a moment.
    await Promise.all([indexer.idle(), otherIndexer.idle()])
    clock.advance(60_000)
    await Promise.all([indexer.idle(), otherIndexer.idle()])
    await otherIndexer.close()
    for (const [index, epoch] of epochs.entries()) {
      const { items } = await search({ session: ids[index] })
      expect(items).toHaveLength(50)
      expect(items.every((item) => item.outcome?.status === 'ok')).toBe(true)
      const segments = await allSegments(epoch.proxy.proxyId, 'with')
      expect(await verifySegments(segments, await readAuditKeys(context))).toMatchObject({
        ok: true,
      })
    }
    const status = await readAuditStatus(context, () => Promise.resolve([]))
    for (const { proxyId } of epochs.map((epoch) => epoch.proxy)) {
      const own = status.proxies.find((proxy) => proxy.proxyId === proxyId)
      expect(own).toMatchObject({ entriesReceived: 102, entriesIndexed: 102, indexLagMs: 0 })
    }
    expect(errors).toEqual([])
  })

  test('nothing a session said lies readable in the store but the index', async () => {
    const { epoch, one, two } = twoBatches()
    await ship(epoch, Buffer.concat([one, two]))
    const rows = await stores.audit.query<{ skeleton: Buffer; ciphertext: Buffer }>(
      `select s.skeleton, p.ciphertext from audit_segments s join audit_payloads p
         using (chain_id, first_batch) join audit_chains c using (chain_id) where c.epoch = $1`,
      [epoch.epoch],
    )
    expect(rows).toHaveLength(1)
    for (const words of ['select', 'no column']) {
      expect(rows[0]!.skeleton.includes(words)).toBe(false)
      expect(rows[0]!.ciphertext.includes(words)).toBe(false)
    }
  })

  test('handlers: reading is on record first, and nothing is answered if that fails', async () => {
    const { epoch, session: id, one, two } = twoBatches()
    const handlers = auditHandlers({
      context,
      indexer,
      readControlSegments: () => Promise.resolve([]),
      readProxyPresence: () =>
        Promise.resolve([{ proxyId: epoch.proxy.proxyId, connected: true, lastHeardAtMs: 5 }]),
    })
    const proxyCaller = {
      kind: 'proxy',
      id: epoch.proxy.proxyId,
      name: 'p',
      group: 'default',
      certificateSerial: '1',
      publicKey: epoch.proxy.publicKey,
      kid: epoch.proxy.kid,
    } as const
    const actions: ControlAction[] = []
    const audit = (action: ControlAction) => {
      actions.push(action)
      return Promise.resolve()
    }
    const request = { realm: 'default', requestId: 'r', remoteAddress: '::1', audit }
    const { body, checkpoint } = await epoch.request(Buffer.concat([one, two]))
    const call = { params: undefined, query: undefined, body: undefined, binaryBody: body }
    const proxyRequest = { ...request, caller: proxyCaller }
    await expect(
      handlers.proxySegments(proxyRequest, { ...call, header: () => undefined }),
    ).rejects.toMatchObject({ code: 'request-invalid' })
    await handlers.proxySegments(proxyRequest, { ...call, header: () => checkpoint })
    await indexer.idle()
    const auditor = {
      kind: 'person',
      id: randomUUID(),
      email: 'auditor@example.test',
      name: '',
      roles: ['auditor'],
      createdAtMs: 0,
      certificate: { serial: '1', expiresAtMs: 1 },
    } as const
    const asAuditor = { ...request, caller: auditor }
    const query = auditQuery.parse({ session: id, text: 'SELECT $1' })
    const searchCall = { ...call, query, binaryBody: Buffer.alloc(0), header: () => undefined }
    const page = await handlers.auditSearch(asAuditor, searchCall)
    expect(auditPage.parse(page)).toMatchObject({ items: [{ text: 'select $1' }], indexLagMs: 0 })
    expect(actions).toMatchObject([{ action: 'audit.read', details: { text: 'SELECT $1' } }])
    const broken = { ...asAuditor, audit: () => Promise.reject(new Error('chain is down')) }
    await expect(handlers.auditSearch(broken, searchCall)).rejects.toThrow('chain is down')
    const segments = segmentsQuery.parse({ proxy: epoch.proxy.proxyId, payloads: 'with' })
    const segmentsCall = { ...searchCall, query: segments }
    await expect(handlers.auditSegments(broken, segmentsCall)).rejects.toThrow('chain is down')
    expect((await handlers.auditSegments(asAuditor, segmentsCall)).items).toHaveLength(1)
    const engineer = { ...auditor, roles: ['engineer'] as const }
    const sessionCall = { ...searchCall, params: { id }, query: undefined }
    await expect(
      handlers.session({ ...request, caller: engineer }, sessionCall),
    ).rejects.toMatchObject({ code: 'not-found' })
    const own = { ...engineer, id: openedMeta.personId }
    const seen = await handlers.session({ ...request, caller: own }, sessionCall)
    expect(seen).toMatchObject({ id })
    const status = await handlers.auditStatus(asAuditor, {
      ...searchCall,
      query: undefined,
    })
    expect(status.proxies.find((proxy) => proxy.proxyId === epoch.proxy.proxyId)).toMatchObject({
      connected: true,
      lastHeardAtMs: 5,
    })
  })

  test('segments: control’s chain first; reading ends although it makes that chain longer', async () => {
    const { epoch, one } = twoBatches()
    await ship(epoch, one)
    const chain: Segment[] = []
    const grow = () => {
      const batch = chain.length + 1
      const receivedAtMs = clock.wallMs()
      const head = { checkpoint: 'c', countersignature: 's', batches: '', receivedAtMs }
      chain.push({ chain: 'control', epoch: 'e', firstBatch: batch, lastBatch: batch, ...head })
    }
    grow()
    grow()
    grow()
    const seen: string[] = []
    for (let cursor: string | undefined; ;) {
      // Each page is audited, later than the first.
      clock.advance(1)
      if (cursor !== undefined) grow()
      const query = segmentsQuery.parse({ limit: 1, cursor })
      const page = await readSegments(context, query, ({ afterBatch, limit, untilMs }) =>
        Promise.resolve(
          chain
            .filter((item) => item.firstBatch > afterBatch && item.receivedAtMs <= untilMs)
            .slice(0, limit),
        ),
      )
      seen.push(...page.items.map((item) => item.chain))
      if (page.next === null) break
      cursor = page.next
    }
    expect(seen.slice(0, 3)).toEqual(['control', 'control', 'control'])
    expect(seen.slice(3)).not.toContain('control')
    expect(seen).toContain(epoch.proxy.proxyId)
  })

  test('opened whole: what is shipped is found with no further call, and closing waits', async () => {
    const registry = new Registry()
    const audit = await openAudit({
      ...context,
      rootKey,
      registry,
      clock: systemClock,
      readControlSegments: () => Promise.resolve([]),
      readProxyPresence: () => Promise.resolve([]),
      appendAction: () => Promise.resolve(),
    })
    const epoch = createFakeProxy().startEpoch()
    epoch.nowUs = systemClock.wallMs() * 1_000
    epoch.started()
    const id = epoch.opened()
    epoch.outcome(id, epoch.statement(id, 'select soon'))
    const { body, checkpoint } = await epoch.request(epoch.batch())
    const proxy = epoch.proxy
    const caller = {
      kind: 'proxy',
      id: proxy.proxyId,
      name: 'p',
      group: 'default',
      certificateSerial: '1',
      publicKey: proxy.publicKey,
      kid: proxy.kid,
    } as const
    const own = { realm: 'default', requestId: 'r', remoteAddress: '::1', caller }
    await audit.handlers.proxySegments(
      { ...own, audit: () => Promise.resolve() },
      {
        params: undefined,
        query: undefined,
        body: undefined,
        binaryBody: body,
        header: () => checkpoint,
      },
    )
    await expect
      .poll(async () => (await search({ session: id })).items, { timeout: 10_000 })
      .toMatchObject([{ text: 'select soon', outcome: { status: 'ok' } }])
    await audit.close()
    expect(await registry.metrics()).toContain('sallyport_audit_entries_received_total 4')
  })

  test.runIf(engine === 'postgres')('a search that hangs is stopped, with a hint', async () => {
    await stores.audit.transaction(async (sql) => {
      await sql.query('lock table audit_activities in access exclusive mode')
      const limits = { ...defaultSearchLimits, statementMs: 50 }
      const other = contextOf(otherStores!.audit)
      const stopped = searchActivities(other, auditQuery.parse({ text: 'x' }), limits)
      await expect(stopped).rejects.toMatchObject({
        code: 'store-unavailable',
        hint: expect.stringContaining('narrow it'),
      })
    })
  })

  test('hostile bodies are refused and leave nothing behind', async () => {
    const { epoch, one } = twoBatches()
    const request = await epoch.request(one)
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ at: fc.nat(one.length - 1), byte: fc.nat(255) }), { maxLength: 6 }),
        fc.nat(one.length),
        fc.uint8Array({ maxLength: 200 }),
        async (changes, cutAt, tail) => {
          const body = Buffer.concat([one.subarray(0, cutAt), tail])
          for (const { at, byte } of changes) if (at < body.length) body[at] = byte
          fc.pre(!body.equals(one))
          const stored = storeSegments(context, { ...request, body })
          await expect(stored).rejects.toBeInstanceOf(SallyportError)
        },
      ),
      { numRuns: 150 },
    )
    const chains = await stores.audit.query('select 1 from audit_chains where proxy_id = $1', [
      epoch.proxy.proxyId,
    ])
    expect(chains).toEqual([])
    expect(await ship(epoch, one)).toMatchObject({ acknowledgedBatch: 1 })
  })
})

async function collect(parts: AsyncIterable<Buffer>): Promise<string> {
  const all: Buffer[] = []
  for await (const part of parts) all.push(part)
  return Buffer.concat(all).toString()
}
