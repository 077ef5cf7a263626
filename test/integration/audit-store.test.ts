import { createHash, randomUUID } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBatches } from '../../control/api/audit/decode.ts'
import { withholdPayloads } from '../../control/api/audit/withhold.ts'
import { verifySegments } from '../../control/api/audit/verify-chain.ts'
import { auditPage, session, sessionsQuery } from '../../control/api/shapes.ts'
import { readAuditKeys } from '../../control/audit/audit-keys.ts'
import { readBlob, storeBlobPart } from '../../control/audit/blobs.ts'
import { createIndexer } from '../../control/audit/indexer.ts'
import { readQuarantine } from '../../control/audit/quarantine.ts'
import { getSession, listSessions } from '../../control/audit/sessions.ts'
import { readAuditStatus } from '../../control/audit/status.ts'
import { storeSegments } from '../../control/audit/store-segments.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { createFakeProxy } from './audit-proxy.ts'

import { auditFixture, collect, engines, everybody, twoBatches } from './audit-fixture.ts'

describe.each(engines)('the audit as it is taken in in a %s store', (engine) => {
  const audit = auditFixture(engine)
  const { ship, search, allSegments, contextOf } = audit

  test('what was shipped is found, with parameters and outcomes, and verifies', async () => {
    const { epoch, session: id, one, two } = twoBatches()
    expect(await ship(epoch, one)).toMatchObject({ acknowledgedBatch: 1, quarantined: 0 })
    expect(await getSession(audit.context, id, everybody)).toMatchObject({
      state: 'live',
      statements: 2,
    })
    await audit.indexer.idle()
    expect((await search({ session: id })).items.map((item) => item.outcome)).toEqual([
      null,
      expect.objectContaining({ status: 'ok', rows: 1, tag: 'SELECT 1' }),
    ])
    expect(await ship(epoch, two)).toMatchObject({ acknowledgedBatch: 2, quarantined: 0 })
    await audit.indexer.idle()
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
    expect(session.parse(await getSession(audit.context, id, everybody))).toMatchObject({
      state: 'closed',
      endReason: 'client-closed',
      statements: 1,
    })
    const keys = await readAuditKeys(audit.context)
    for (const payloads of ['with', 'without'] as const) {
      const segments = await allSegments(epoch.proxy.proxyId, payloads)
      const report = await verifySegments(segments, keys)
      expect(report).toMatchObject({ ok: true, damage: [], batches: 2, entries: 7 })
      const bytes = Buffer.concat(segments.map((item) => Buffer.from(item.batches, 'base64')))
      if (payloads === 'with') expect(bytes).toEqual(Buffer.concat([one, two]))
      else expect(bytes.includes('select')).toBe(false)
    }
    expect(audit.errors).toEqual([])
  })

  test('the same again is acknowledged and stored once, also when it overlaps', async () => {
    const { epoch, session: id, one, two } = twoBatches()
    await ship(epoch, one)
    expect(await ship(epoch, one)).toMatchObject({ acknowledgedBatch: 1, quarantined: 0 })
    expect(await ship(epoch, Buffer.concat([one, two]))).toMatchObject({ acknowledgedBatch: 2 })
    expect(await ship(epoch, two)).toMatchObject({ acknowledgedBatch: 2, quarantined: 0 })
    expect(await ship(epoch, one)).toMatchObject({ acknowledgedBatch: 1, quarantined: 0 })
    await audit.indexer.idle()
    expect((await search({ session: id })).items).toHaveLength(2)
    const segments = await allSegments(epoch.proxy.proxyId, 'with')
    expect(segments.map((item) => [item.firstBatch, item.lastBatch])).toEqual([
      [1, 1],
      [2, 2],
    ])
    expect(await verifySegments(segments, await readAuditKeys(audit.context))).toMatchObject({
      ok: true,
    })
    expect(audit.errors).toEqual([])
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
    const kept = await audit.store.query<{ quarantine_id: number }>(
      'select quarantine_id from audit_quarantine where proxy_id = $1 order by quarantine_id',
      [epoch.proxy.proxyId],
    )
    expect(kept).toHaveLength(2)
    const first = await readQuarantine(audit.context, kept[0]!.quarantine_id)
    expect(first?.bytes).toEqual(Buffer.concat([fork, after]))
    expect(first?.why).toContain('batch 2 is stored with another link')
    const raw = await audit.store.query<{ ciphertext: Buffer }>(
      'select ciphertext from audit_quarantine where quarantine_id = $1',
      [kept[0]!.quarantine_id],
    )
    expect(raw[0]!.ciphertext.includes('something')).toBe(false)
    const status = await readAuditStatus(audit.context, () => Promise.resolve([]))
    const own = status.proxies.find((proxy) => proxy.proxyId === epoch.proxy.proxyId)
    expect(own).toMatchObject({ quarantined: 3, entriesReceived: 7 })
    expect(audit.errors.join()).toContain('quarantine')
    const segments = await allSegments(epoch.proxy.proxyId, 'with')
    expect(await verifySegments(segments, await readAuditKeys(audit.context))).toMatchObject({
      ok: true,
    })
  })

  test('a gap is refused, and says which batch is expected', async () => {
    const { epoch, two } = twoBatches()
    await expect(ship(epoch, two)).rejects.toMatchObject({
      code: 'audit-gap',
      clientMessage: expect.stringContaining('expected batch 1 of'),
    })
    const stored = await audit.store.query('select 1 from audit_chains where epoch = $1', [
      epoch.epoch,
    ])
    expect(stored).toEqual([])
  })

  test('a torn, changed or foreign body is refused whole', async () => {
    const { epoch, one, two } = twoBatches()
    const torn = Buffer.concat([one, two.subarray(0, two.length - 1)])
    const request = await epoch.request(one)
    await expect(storeSegments(audit.context, { ...request, body: torn })).rejects.toMatchObject({
      code: 'audit-corrupt',
    })
    for (const at of [60, 100, one.length - 40, one.length - 1]) {
      const flipped = Buffer.from(one)
      flipped[at] = flipped[at]! ^ 1
      const body = { ...request, body: flipped }
      await expect(storeSegments(audit.context, body)).rejects.toMatchObject({
        code: 'audit-corrupt',
      })
    }
    const other = twoBatches()
    const mixed = { ...request, body: Buffer.concat([one, other.two]) }
    await expect(storeSegments(audit.context, mixed)).rejects.toMatchObject({
      code: 'audit-corrupt',
    })
    const withheld = withholdPayloads(decodeBatches(one)[0]!, () => false)
    await expect(storeSegments(audit.context, await epoch.request(withheld))).rejects.toMatchObject(
      {
        code: 'audit-corrupt',
      },
    )
    await expect(
      storeSegments(audit.context, { ...request, body: Buffer.alloc(0) }),
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
      await expect(storeSegments(audit.context, request)).rejects.toMatchObject({
        code: 'evidence-invalid',
      })
    }
    const request = await epoch.request(one)
    const stranger = createFakeProxy(epoch.proxy.proxyId)
    const byOther = { ...request, proxy: stranger }
    await expect(storeSegments(audit.context, byOther)).rejects.toMatchObject({
      code: 'evidence-invalid',
    })
    await storeSegments(audit.context, request)
    // Renewed since: what the earlier key signed still counts.
    const renewed = { ...(await epoch.request(two)), proxy: stranger }
    expect(await storeSegments(audit.context, renewed)).toMatchObject({ acknowledgedBatch: 2 })
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
    expect(session.parse(await getSession(audit.context, first, everybody))).toMatchObject({
      state: 'closed',
      endReason: 'grant-revoked',
      cut,
      statements: 5,
    })
    const list = async (query: Record<string, unknown>, personId?: string) => {
      const page = await listSessions(
        audit.context,
        sessionsQuery.parse({ grant: grantId, ...query }),
        {
          personId,
        },
      )
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
    await expect(getSession(audit.context, first, other)).rejects.toMatchObject({
      code: 'not-found',
    })
    await expect(list({ cursor: 'bm9wZQ' })).rejects.toMatchObject({ code: 'request-invalid' })
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
    await audit.indexer.idle()
    expect(await getSession(audit.context, id, everybody)).toMatchObject({
      state: 'live',
      personEmail: 'dev@example.test',
      proxyId: honest.proxy.proxyId,
      cut: null,
    })
    expect((await search({ session: id })).items.map((item) => item.text)).toEqual([
      'select honest',
    ])
    expect(audit.errors.join()).toContain('do not fit its sessions')
    // Stored all the same.
    const segments = await allSegments(hostile.proxy.proxyId, 'with')
    expect(Buffer.from(segments[0]!.batches, 'base64').includes('slander')).toBe(true)
  })

  test('blobs: parts in order, again, wrong hash, encrypted, read back', async () => {
    const proxyId = randomUUID()
    const id = randomUUID()
    const whole = Buffer.alloc(300_000, 'a long statement; ')
    const sha256 = createHash('sha256').update(whole).digest('hex')
    const part = (offset: number, end: number) =>
      storeBlobPart(audit.context, {
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
    expect(await collect(readBlob(audit.context, { proxyId, session: id, sha256 }))).toBe('')
    await part(200_000, 300_000)
    await part(200_000, 300_000)
    const read = await collect(readBlob(audit.context, { proxyId, session: id, sha256 }))
    expect(read).toBe(whole.toString())
    const raw = await audit.store.query<{ ciphertext: Buffer }>(
      `select p.ciphertext from audit_blob_parts p join audit_blobs b using (blob_id)
       where b.session_id = $1`,
      [id],
    )
    expect(raw).toHaveLength(3)
    expect(raw.some(({ ciphertext }) => ciphertext.includes('statement'))).toBe(false)
    const lie = { proxyId, session: id, sha256: '0'.repeat(64), offset: 0, total: 3 }
    await expect(
      storeBlobPart(audit.context, { ...lie, bytes: Buffer.from('abc') }),
    ).rejects.toMatchObject({ code: 'audit-corrupt' })
    expect(await collect(readBlob(audit.context, lie))).toBe('')
    await expect(
      storeBlobPart(audit.context, { ...lie, total: 2 ** 31, bytes: Buffer.from('abc') }),
    ).rejects.toMatchObject({ code: 'request-invalid' })
  })

  test('a blob may come before its session; the key then moves to the session’s class', async () => {
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const id = randomUUID()
    const sha256 = createHash('sha256').update('early').digest('hex')
    const blob = { proxyId: epoch.proxy.proxyId, session: id, sha256 }
    await storeBlobPart(audit.context, {
      ...blob,
      offset: 0,
      total: 5,
      bytes: Buffer.from('early'),
    })
    epoch.opened({ retention: 'special' }, id)
    await ship(epoch, epoch.batch())
    const [key] = await audit.store.query(
      'select retention_class from audit_session_keys where session_id = $1',
      [id],
    )
    expect(key).toEqual({ retention_class: 'special' })
    expect(await collect(readBlob(audit.context, blob))).toBe('early')
  })

  test('two replicas take in and index the same chains at once', async () => {
    const other = contextOf(audit.otherStore)
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
            storeSegments(audit.context, request),
            storeSegments(other, again),
            storeSegments(other, request),
          ])
          for (const answer of answers) {
            expect(answer).toMatchObject({ acknowledgedBatch: round + 1, quarantined: 0 })
          }
          before = body
          audit.indexer.ring()
          otherIndexer.ring()
        }
      }),
    )
    // A claim of the one may hide what is left from the other for a moment.
    await Promise.all([audit.indexer.idle(), otherIndexer.idle()])
    audit.clock.advance(60_000)
    await Promise.all([audit.indexer.idle(), otherIndexer.idle()])
    await otherIndexer.close()
    for (const [index, epoch] of epochs.entries()) {
      const { items } = await search({ session: ids[index] })
      expect(items).toHaveLength(50)
      expect(items.every((item) => item.outcome?.status === 'ok')).toBe(true)
      const segments = await allSegments(epoch.proxy.proxyId, 'with')
      expect(await verifySegments(segments, await readAuditKeys(audit.context))).toMatchObject({
        ok: true,
      })
    }
    const status = await readAuditStatus(audit.context, () => Promise.resolve([]))
    for (const { proxyId } of epochs.map((epoch) => epoch.proxy)) {
      const own = status.proxies.find((proxy) => proxy.proxyId === proxyId)
      expect(own).toMatchObject({ entriesReceived: 102, entriesIndexed: 102, indexLagMs: 0 })
    }
    expect(audit.errors).toEqual([])
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
          const stored = storeSegments(audit.context, { ...request, body })
          await expect(stored).rejects.toBeInstanceOf(SallyportError)
        },
      ),
      { numRuns: 150 },
    )
    const chains = await audit.store.query('select 1 from audit_chains where proxy_id = $1', [
      epoch.proxy.proxyId,
    ])
    expect(chains).toEqual([])
    expect(await ship(epoch, one)).toMatchObject({ acknowledgedBatch: 1 })
  })
})
