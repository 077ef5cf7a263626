import { createHash, randomUUID } from 'node:crypto'
import { Registry } from 'prom-client'
import { describe, expect, test } from 'vitest'
import { decodeBatches } from '../../control/api/audit/decode.ts'
import { verifySegments } from '../../control/api/audit/verify-chain.ts'
import { routes } from '../../control/api/routes.ts'
import { auditPage, auditQuery, segmentsQuery, type Segment } from '../../control/api/shapes.ts'
import { readAuditKeys } from '../../control/audit/audit-keys.ts'
import { readBlob, storeBlobPart } from '../../control/audit/blobs.ts'
import { auditHandlers } from '../../control/audit/handlers.ts'
import { placeLegalHold, releaseLegalHold } from '../../control/audit/legal-hold.ts'
import { openAudit } from '../../control/audit/open-audit.ts'
import { readSegments } from '../../control/audit/read-segments.ts'
import { setRetentionClass } from '../../control/audit/retention-classes.ts'
import { runRetention } from '../../control/audit/retention.ts'
import { defaultSearchLimits, searchActivities } from '../../control/audit/search-activities.ts'
import { getSession } from '../../control/audit/sessions.ts'
import type { ControlAction } from '../../control/server/handlers.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { createFakeProxy, openedMeta } from './audit-proxy.ts'

import { auditFixture, collect, engines, everybody, rootKey, twoBatches } from './audit-fixture.ts'

describe.each(engines)('the audit as it is read in a %s store', (engine) => {
  const audit = auditFixture(engine)
  const { ship, search, allSegments, contextOf } = audit

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
        await audit.indexer.idle()
        expect((await search({ session: id })).items[0]).toMatchObject({ outcome: null })
        await ship(next, after)
      }
      await audit.indexer.idle()
      expect(await getSession(audit.context, id, everybody)).toMatchObject({
        state: 'closed',
        endReason: 'proxy-lost',
      })
      expect((await search({ session: id, order: 'oldest' })).items).toMatchObject([
        { text: 'select settled', outcome: { status: 'ok' } },
        { text: 'select lost', outcome: { status: 'unknown', rows: null } },
      ])
    }
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
    await audit.indexer.idle()
    expect((await search({ session: id })).items.map((item) => item.text)).toEqual(['select fine'])
    expect(audit.errors.some((line) => line.includes('cannot be indexed'))).toBe(true)
    expect(audit.errors.some((line) => line.includes('tried again'))).toBe(false)
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
    await audit.indexer.idle()
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
    await audit.indexer.idle()
    const numbers = async (query: Record<string, unknown>, limits = defaultSearchLimits) => {
      const seen: number[] = []
      let pages = 0
      for (let cursor: string | undefined; ; pages += 1) {
        const parsed = auditQuery.parse({ resource, ...query, cursor })
        const page = await searchActivities(audit.context, parsed, limits)
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
    await audit.indexer.idle()
    const rows = await audit.store.query<{ text: string; partition: string }>(
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
    await setRetentionClass(audit.store, 'default', retention, 7)
    const gone = epoch.opened({ retention })
    const held = epoch.opened({ retention })
    const personHeld = epoch.opened({ retention, personEmail: 'held@example.test' })
    const flagged = epoch.opened({ retention })
    const live = epoch.opened({ retention, expiresAtMs: audit.clock.wallMs() + 30 * 86_400_000 })
    const standard = epoch.opened()
    const all = [gone, held, personHeld, flagged, live, standard]
    for (const id of all) {
      epoch.outcome(id, epoch.statement(id, `select 'words of ${id}'`))
      if (id !== live) epoch.closed(id)
    }
    const body = epoch.batch()
    const sha256 = createHash('sha256').update('long text').digest('hex')
    const blob = { proxyId: epoch.proxy.proxyId, session: gone, sha256 }
    await storeBlobPart(audit.context, {
      ...blob,
      offset: 0,
      total: 9,
      bytes: Buffer.from('long text'),
    })
    await ship(epoch, body)
    await audit.indexer.idle()
    const hold = {
      kind: 'session',
      selector: held,
      reason: 'case 1',
      madeBy: 'a@example.test',
    } as const
    const holdId = await placeLegalHold(audit.context, hold)
    await placeLegalHold(audit.context, { ...hold, kind: 'person', selector: 'held@example.test' })
    await audit.store.query(
      'update audit_session_keys set legal_hold = true where session_id = $1',
      [flagged],
    )
    const announced: string[] = []
    const announce = (sessions: readonly { sessionId: string }[]) => {
      announced.push(...sessions.map((item) => item.sessionId))
      return Promise.resolve()
    }
    audit.clock.advance(6 * 86_400_000)
    await runRetention(audit.context, { announce })
    expect(announced).toEqual([])
    audit.clock.advance(2 * 86_400_000)
    const refused = runRetention(audit.context, {
      announce: () => Promise.reject(new Error('chain cannot be written')),
    })
    await expect(refused).rejects.toThrow('chain cannot be written')
    expect((await search({ session: gone })).items).toHaveLength(1)
    const result = await runRetention(audit.context, { announce })
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
    expect(await collect(readBlob(audit.context, blob))).toBe('')
    const keys = await readAuditKeys(audit.context)
    const report = await verifySegments(await allSegments(epoch.proxy.proxyId, 'with'), keys)
    expect(report).toMatchObject({ ok: true, damage: [] })
    expect(report.chains[0]!.epochs[0]!.payloadsWithheld).toBe(1)
    await releaseLegalHold(audit.context, holdId, 'a@example.test')
    await runRetention(audit.context, { announce })
    expect(await texts()).toEqual([false, false, true, true, true, true])
    // What comes late, for a session whose key is gone, is kept for its time too.
    epoch.statement(gone, 'select late')
    await ship(epoch, epoch.batch())
    const late = (await allSegments(epoch.proxy.proxyId, 'with')).at(-1)!
    expect(Buffer.from(late.batches, 'base64').includes('select late')).toBe(true)
    // Days that are empty and over lose their partition.
    audit.clock.advance(800 * 86_400_000)
    await audit.store.query(`update audit_session_keys set legal_hold = false`)
    await audit.store.query(`delete from legal_holds`)
    const last = await runRetention(audit.context, { announce })
    expect(audit.errors).toEqual([])
    expect(last.partitionsDropped).toContain('audit_activities_20260101')
    expect((await search({ session: standard })).items).toEqual([])
  })

  test('nothing a session said lies readable in the store but the index', async () => {
    const { epoch, one, two } = twoBatches()
    await ship(epoch, Buffer.concat([one, two]))
    const rows = await audit.store.query<{ skeleton: Buffer; ciphertext: Buffer }>(
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
      context: audit.context,
      indexer: audit.indexer,
      readControlSegments: () => Promise.resolve([]),
      readProxyPresence: () =>
        Promise.resolve([{ proxyId: epoch.proxy.proxyId, connected: true, lastHeardAtMs: 5 }]),
      readAction: () => Promise.resolve(undefined),
      stopping: new AbortController().signal,
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
    const append = (action: ControlAction) => {
      actions.push(action)
      return Promise.resolve(actions.length)
    }
    const request = { realm: 'default', requestId: 'r', remoteAddress: '::1', audit: append }
    const { body, checkpoint } = await epoch.request(Buffer.concat([one, two]))
    const call = { params: undefined, query: undefined, body: undefined, binaryBody: body }
    const proxyRequest = { ...request, caller: proxyCaller }
    await expect(
      handlers.proxySegments(proxyRequest, { ...call, header: () => undefined }),
    ).rejects.toMatchObject({ code: 'request-invalid' })
    await handlers.proxySegments(proxyRequest, { ...call, header: () => checkpoint })
    await audit.indexer.idle()
    const auditor = {
      kind: 'person',
      id: randomUUID(),
      email: 'auditor@example.test',
      name: '',
      roles: ['auditor'],
      groups: [],
      createdAtMs: 0,
      via: 'certificate' as const,
      certificate: { serial: '1', expiresAtMs: 1 },
      login: null,
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
    // An admin verifies the chains; what was said in the sessions is not for them.
    const asAdmin = { ...asAuditor, caller: { ...auditor, roles: ['admin'] as const } }
    await expect(handlers.auditSegments(asAdmin, segmentsCall)).rejects.toMatchObject({
      code: 'not-allowed',
    })
    const skeletons = { ...segmentsCall, query: { ...segments, payloads: 'without' as const } }
    expect((await handlers.auditSegments(asAdmin, skeletons)).items).toHaveLength(1)
    expect(routes.auditSearch.access).toEqual(['auditor'])
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
      const receivedAtMs = audit.clock.wallMs()
      const head = { checkpoint: 'c', countersignature: 's', batches: '', receivedAtMs }
      chain.push({ chain: 'control', epoch: 'e', firstBatch: batch, lastBatch: batch, ...head })
    }
    grow()
    grow()
    grow()
    const seen: string[] = []
    for (let cursor: string | undefined; ;) {
      // Each page is audited, later than the first.
      audit.clock.advance(1)
      if (cursor !== undefined) grow()
      const query = segmentsQuery.parse({ limit: 1, cursor })
      const page = await readSegments(audit.context, query, ({ afterBatch, limit, untilMs }) =>
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
    const opened = await openAudit({
      ...audit.context,
      rootKey,
      registry,
      clock: systemClock,
      readControlSegments: () => Promise.resolve([]),
      readProxyPresence: () => Promise.resolve([]),
      appendAction: () => Promise.resolve(),
      readAction: () => Promise.resolve(undefined),
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
    await opened.handlers.proxySegments(
      { ...own, audit: () => Promise.resolve(1) },
      {
        params: undefined,
        query: undefined,
        body: undefined,
        binaryBody: body,
        header: () => checkpoint,
      },
    )
    await expect
      .poll(async () => (await search({ session: id })).items)
      .toMatchObject([{ text: 'select soon', outcome: { status: 'ok' } }])
    await opened.close()
    expect(await registry.metrics()).toContain('sallyport_audit_entries_received_total 4')
  })

  // The embedded store has one connection: nobody else could hold the lock.
  if (engine !== 'postgres') return
  test('a search that hangs is stopped, with a hint', async () => {
    await audit.store.transaction(async (sql) => {
      await sql.query('lock table audit_activities in access exclusive mode')
      const limits = { ...defaultSearchLimits, statementMs: 50 }
      const other = contextOf(audit.otherStore)
      const stopped = searchActivities(other, auditQuery.parse({ text: 'x' }), limits)
      await expect(stopped).rejects.toMatchObject({
        code: 'store-unavailable',
        hint: expect.stringContaining('narrow it'),
      })
    })
  })
})
