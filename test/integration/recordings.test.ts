/** Recordings from the proxy's session to who replays them: found, read, followed, sealed, withheld and deleted. */
import { describe, expect, test } from 'vitest'
import { decodeFrames, type Frame } from '../../control/api/audit/recording.ts'
import { verifySegments } from '../../control/api/audit/verify-chain.ts'
import {
  recordingPage,
  recordingQuery,
  type RecordingView,
} from '../../control/api/recording-shapes.ts'
import { readAuditKeys } from '../../control/audit/audit-keys.ts'
import { encodeCursor } from '../../control/audit/cursor.ts'
import { createRecordingHandlers } from '../../control/audit/recording-readings.ts'
import { runRetention } from '../../control/audit/retention.ts'
import type { ControlAction } from '../../control/server/handlers.ts'
import { createTestClock } from '../test-clock.ts'
import { auditFixture, engines } from './audit-fixture.ts'
import { openRecordingProxy } from './recording-proxy.ts'

const header = { activity: 0, title: '/bin/sh', columns: 80, rows: 24, term: 'xterm' }
const textOf = (frames: readonly Frame[]): string =>
  frames.map(({ kind, bytes }) => `${kind}: ${bytes.toString()}`).join('\n')

describe.each(engines)('recordings over a %s store', (engine) => {
  const audit = auditFixture(engine)

  function openReadings() {
    const actions: (ControlAction & { actor: string; atMs: number })[] = []
    const stopping = new AbortController()
    const handlers = createRecordingHandlers({
      context: audit.context,
      readAction: (number) => Promise.resolve(actions[number - 1]),
      stopping: stopping.signal,
    })
    const asWho = (id: string, roles: ('engineer' | 'auditor')[]) => ({
      ...{ realm: 'default', requestId: 'r', remoteAddress: '::1' },
      caller: {
        ...{ kind: 'person' as const, id, email: 'a@example.test', name: '', roles, groups: [] },
        ...{ createdAtMs: 0, via: 'certificate' as const, login: null },
        certificate: { serial: '1', expiresAtMs: 1 },
      },
      audit: (action: ControlAction) =>
        Promise.resolve(actions.push({ ...action, actor: id, atMs: audit.context.clock.wallMs() })),
    })
    const call = { body: undefined, binaryBody: Buffer.alloc(0), header: () => undefined }
    const read = async (
      id: string,
      number = 1,
      query: Record<string, unknown> = {},
      who = 'auditor-1',
    ) =>
      recordingPage.parse(
        await handlers.recordingRead(asWho(who, ['auditor']), {
          ...call,
          params: { id, number },
          query: recordingQuery.parse(query),
        }),
      )
    const list = async (id: string, roles: ('engineer' | 'auditor')[] = ['auditor'], who = 'x') =>
      (
        await handlers.recordings(asWho(who, roles), {
          ...call,
          params: { id },
          query: undefined,
        })
      ).items
    const readAll = async (id: string, number = 1, query: Record<string, unknown> = {}) => {
      const frames: Frame[] = []
      let pages = 0
      for (let cursor: string | undefined; ;) {
        const page = await read(id, number, {
          ...query,
          ...(cursor === undefined ? {} : { cursor }),
        })
        pages += 1
        for (const part of page.parts) {
          if (part.frames !== null) frames.push(...decodeFrames(Buffer.from(part.frames, 'base64')))
        }
        if (page.ended || page.parts.length === 0) return { frames, pages, page }
        cursor = page.next
      }
    }
    return { read, readAll, list, actions, stopping }
  }

  test('is read back as it was written, page by page, sealed, on record once', async () => {
    const clock = createTestClock()
    const proxy = await openRecordingProxy(audit.context, clock)
    const session = proxy.open()
    const recording = session.recordings.start('terminal', {
      ...header,
      activity: session.command('shell'),
    })
    const written: Buffer[] = []
    for (let index = 0; index < 60; index += 1) {
      const chunk = Buffer.from(`line ${index}\r\n`.repeat(300))
      written.push(chunk)
      recording.write('upstream', chunk)
      clock.advance(100)
    }
    recording.resize(120, 40)
    recording.mark('the grant ends in 5 min')
    const stream = session.recordings.start('stream', {
      activity: 0,
      title: `cat ${'f'.repeat(1_000)}`,
    })
    stream.write('upstream', Buffer.alloc(10_000, 'x'))
    session.close()
    await proxy.ship()
    await audit.indexer.idle()

    const { readAll, read, list, actions } = openReadings()
    const items = await list(session.id)
    expect(items).toMatchObject([
      {
        ...{
          number: 1,
          kind: 'terminal',
          state: 'sealed',
          title: '/bin/sh',
          columns: 80,
          rows: 24,
        },
        ...{ frames: 62, lostBytes: 0, deleted: false },
      },
      {
        ...{ number: 2, kind: 'stream', state: 'sealed', title: `cat ${'f'.repeat(251)}…` },
        streams: [{ from: 'upstream', bytes: 10_000, keptBytes: 4_096 }],
      },
    ] satisfies Partial<RecordingView>[])
    const { frames, pages } = await readAll(session.id, 1, { bytesMax: 30_000 })
    expect(pages).toBeGreaterThan(3)
    const output = frames.filter(({ kind }) => kind === 'upstream')
    expect(Buffer.concat(output.map(({ bytes }) => bytes)).equals(Buffer.concat(written))).toBe(
      true,
    )
    expect(output[59]!.atUs).toBe(5_900_000)
    expect(frames.at(-1)).toMatchObject({ kind: 'mark', atUs: 6_000_000 })
    expect(actions).toMatchObject([{ action: 'recording.read', target: `${session.id}/1` }])

    // How long a part is, is its proxy's word; what a page holds is not.
    await audit.context.store.query('update recording_parts set bytes = 0')
    const again = await readAll(session.id, 1, { bytesMax: 30_000 })
    expect(again.pages).toBeGreaterThan(3)
    expect(again.frames).toEqual(frames)
    expect(actions).toHaveLength(2)

    // From a moment on: the part that holds it comes first.
    const late = await read(session.id, 1, { fromUs: 5_000_000 })
    expect(late.parts[0]!.firstUs).toBeLessThanOrEqual(5_000_000)
    expect(late.parts[0]!.firstUs).toBeGreaterThan(4_000_000)
    const report = await verifySegments(
      await audit.allSegments(proxy.proxyId, 'with'),
      await readAuditKeys(audit.context),
    )
    expect(report.damage).toEqual([])
    await proxy.close()
    expect(audit.errors).toEqual([])
  })

  test('is followed while it goes on, and ends with its session', async () => {
    const clock = createTestClock()
    const proxy = await openRecordingProxy(audit.context, clock)
    const session = proxy.open()
    const recording = session.recordings.start('terminal', header)
    recording.write('upstream', Buffer.from('$ '))
    clock.advance(250)
    await proxy.ship()
    await audit.indexer.idle()
    const { read, actions, stopping } = openReadings()
    const first = await read(session.id)
    expect(first).toMatchObject({ ended: false, recording: { state: 'live' } })
    expect(first.parts).toHaveLength(1)
    const waits = read(session.id, 1, { cursor: first.next, waitMs: 5_000 })
    recording.write('client', Buffer.from('ls\r'))
    await proxy.ship()
    await audit.indexer.idle()
    audit.clock.advance(200)
    let page = await waits
    while (page.parts.length === 0) page = await read(session.id, 1, { cursor: page.next })
    expect(textOf(decodeFrames(Buffer.from(page.parts[0]!.frames!, 'base64')))).toBe('client: ls\r')
    const stopped = read(session.id, 1, { cursor: page.next, waitMs: 10_000 })
    stopping.abort()
    expect(await stopped).toMatchObject({ parts: [], ended: false })
    session.close()
    await proxy.ship()
    await audit.indexer.idle()
    expect(await read(session.id, 1, { cursor: page.next })).toMatchObject({
      ...{ parts: [], ended: true, recording: { state: 'sealed' } },
    })
    expect(actions).toHaveLength(1)
    await proxy.close()
  })

  test('what was typed unseen needs a reading of its own on record, and no cursor gets around it', async () => {
    const proxy = await openRecordingProxy(audit.context, createTestClock())
    const session = proxy.open()
    const recording = session.recordings.start('terminal', header)
    recording.write('upstream', Buffer.from('Password: '))
    recording.write('client-hidden', Buffer.from('geheim'))
    recording.write('upstream', Buffer.from('\r\nwelcome'))
    session.close()
    await proxy.ship()
    await audit.indexer.idle()
    const { read, readAll, actions } = openReadings()
    const open = await readAll(session.id)
    expect(textOf(open.frames)).not.toContain('geheim')
    expect(open.page.parts.map(({ hidden, frames }) => [hidden, frames === null])).toEqual([
      [false, false],
      [true, true],
      [false, false],
    ])
    const made = encodeCursor({ reading: 1, part: 0, hidden: true })
    await expect(read(session.id, 1, { cursor: made })).rejects.toMatchObject({
      code: 'request-invalid',
    })
    await expect(read(session.id, 1, { cursor: open.page.next }, 'else')).rejects.toMatchObject({
      code: 'request-invalid',
    })
    expect(textOf((await readAll(session.id, 1, { hidden: '1' })).frames)).toContain(
      'client-hidden: geheim',
    )
    expect(actions.map(({ action }) => action)).toEqual(['recording.read', 'recording.hidden-read'])
    // Neither search nor an export of the audit has it; its place in the chain still verifies.
    expect((await audit.search({ text: 'geheim' })).items).toEqual([])
    const segments = await audit.allSegments(proxy.proxyId, 'with')
    const bytes = segments.map(({ batches }) => Buffer.from(batches, 'base64').toString('latin1'))
    expect(bytes.join()).toContain('welcome')
    expect(bytes.join()).not.toContain('geheim')
    const report = await verifySegments(segments, await readAuditKeys(audit.context))
    expect(report.damage).toEqual([])
    await proxy.close()
  })

  test('text that was shown is found, and where; titles and streams are for auditors', async () => {
    const clock = createTestClock()
    const proxy = await openRecordingProxy(audit.context, clock)
    const session = proxy.open()
    const recording = session.recordings.start('terminal', header)
    recording.write('upstream', Buffer.from('\u001b[1mMot'))
    clock.advance(3_000)
    await proxy.ship()
    await audit.indexer.idle()
    // The word is in two slices of the index, a sequence within it.
    recording.write('upstream', Buffer.from('\u001b[0;32mörhead\u001b[m is loud\r\nsecond\b\b\b'))
    clock.advance(300)
    session.close()
    await proxy.ship()
    await audit.indexer.idle()
    const found = await audit.search({ text: 'motörhead is' })
    expect(found.items).toMatchObject([
      {
        ...{ kind: 'terminal-output', sessionId: session.id, resource: 'web1', outcome: null },
        recording: { number: 1, atUs: 3_000_000 },
      },
    ])
    expect((await audit.search({ text: 'motörhead', outcome: 'running' })).items).toEqual([])
    const { list } = openReadings()
    const [mine] = await list(
      session.id,
      ['engineer'],
      '7b3f6b0e-6a64-4f4e-9d55-1f7f4e9d1a01',
    ).catch(() => [])
    expect(mine?.title ?? null).toBeNull()
    await expect(
      list(session.id, ['engineer'], '00000000-0000-4000-8000-000000000000'),
    ).rejects.toThrow()
    await proxy.close()
  })

  test('is deleted with its session, and the chain still verifies', async () => {
    const proxy = await openRecordingProxy(audit.context, createTestClock())
    const session = proxy.open()
    const recording = session.recordings.start('terminal', header)
    recording.write('upstream', Buffer.from('soon gone'))
    recording.write('client-hidden', Buffer.from('geheim'))
    session.close()
    await proxy.ship()
    await audit.indexer.idle()
    audit.clock.advance(400 * 86_400_000)
    await runRetention(audit.context, { announce: () => Promise.resolve() })
    const { list, readAll } = openReadings()
    expect(await list(session.id)).toMatchObject([{ title: null, deleted: true, state: 'sealed' }])
    expect((await readAll(session.id, 1, { hidden: '1' })).frames).toEqual([])
    expect((await audit.search({ text: 'soon gone' })).items).toEqual([])
    const left = await audit.store.query(
      `select 1 from audit_hidden_payloads where session_id = $1
       union all select 1 from audit_hidden_keys where session_id = $1 and wrapped is not null`,
      [session.id],
    )
    expect(left).toEqual([])
    const segments = await audit.allSegments(proxy.proxyId, 'with')
    expect((await verifySegments(segments, await readAuditKeys(audit.context))).damage).toEqual([])
    await proxy.close()
  })
})
