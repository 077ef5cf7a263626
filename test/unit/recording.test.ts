/** Recordings on their way into the audit: gathered, in order, before what is typed goes on, and never lost in silence. */
import { createHash } from 'node:crypto'
import { Writable } from 'node:stream'
import { describe, expect, test, vi } from 'vitest'
import { decodeBatches, type Entry } from '../../control/api/audit/decode.ts'
import { recordingEnded } from '../../control/api/audit/metas.ts'
import {
  decodeFrames,
  decodePartMeta,
  emptyDigest,
  rollDigest,
  sizeOf,
  type RecordingStreams,
  type RecordingTitle,
} from '../../control/api/audit/recording.ts'
import { saltBytes } from '../../control/api/audit/format.ts'
import { createForwarder } from '../../proxy/audit/forwarder.ts'
import type { Durability, Spool, SpoolLimits } from '../../proxy/audit/spool-types.ts'
import type { SpoolFiles } from '../../proxy/audit/spool-files.ts'
import { createSessionRecordings } from '../../proxy/recordings/session-recordings.ts'
import { createTestClock } from '../test-clock.ts'
import { openTestSpool, sessionIn, temporaryDirectory, turns } from './spool-fixture.ts'

interface Given {
  durability?: Durability
  streamBytesMax?: number
  limits?: Partial<SpoolLimits>
  files?: Partial<SpoolFiles>
}

async function openRecordings(given: Given = {}) {
  const { durability = 'written', streamBytesMax = 1_000, limits = {}, files = {} } = given
  const clock = createTestClock()
  const spool = await openTestSpool(temporaryDirectory(), limits, files, { clock })
  const session = sessionIn(spool, durability)
  const onDrain = vi.fn<() => void>()
  const recordings = createSessionRecordings({
    spool,
    spoolSession: session,
    clock,
    streamBytesMax,
    onDrain,
  })
  return { clock, spool, session, recordings, onDrain }
}

const shipped = new WeakMap<Spool, Entry[]>()

/** The entries of recordings that are written, in order. */
async function recorded(spool: Spool): Promise<Entry[]> {
  await turns()
  const entries = shipped.get(spool) ?? []
  shipped.set(spool, entries)
  for (let parcel; (parcel = await spool.outbox.next(1 << 20)) !== undefined;) {
    if (parcel.kind === 'batches') {
      entries.push(...decodeBatches(parcel.bytes).flatMap((batch) => batch.entries))
    }
    await spool.outbox.done(parcel)
  }
  return entries.filter(({ type }) => type.startsWith('recording'))
}

const partsOf = (entries: readonly Entry[]) =>
  entries
    .filter(({ type }) => type === 'recording')
    .map((entry) => ({ ...decodePartMeta(entry.meta), entry }))
const framesOf = (entry: Entry) => decodeFrames(entry.payload!.subarray(saltBytes))
const header = { activity: 7, title: '/bin/sh', columns: 80, rows: 24, term: 'xterm' }

describe('a recording', () => {
  test('gathers what is shown for 250 ms, keeps moments and order, and ends with a digest that verifies', async () => {
    const { clock, spool, session, recordings } = await openRecordings()
    const recording = recordings.start('terminal', header)
    expect(recording.write('upstream', Buffer.from('one '))).toBe(true)
    recording.write('upstream', Buffer.from('two'))
    clock.advance(100)
    recording.resize(100, 30)
    recording.write('upstream', Buffer.from('three'))
    clock.advance(149)
    expect(partsOf(await recorded(spool))).toHaveLength(1)
    clock.advance(1)
    expect(partsOf(await recorded(spool))).toHaveLength(2)
    clock.advance(1_000)
    recording.write('upstream-error', Buffer.from('four'))
    recording.mark('a warning')
    recording.end()
    recording.end()
    recording.write('upstream', Buffer.from('too late'))
    clock.advance(1_000)

    const entries = await recorded(spool)
    const parts = partsOf(entries)
    expect(entries.map(({ type, reference }) => [type, reference])).toEqual([
      ['recording', 1],
      ['recording', 1],
      ['recording', 1],
      ['recording-ended', 1],
    ])
    const title = JSON.parse(entries[0]!.payload!.subarray(saltBytes).toString()) as RecordingTitle
    expect(title).toEqual({ kind: 'terminal', ...header })
    expect(parts[1]).toMatchObject({ part: 1, hidden: false, firstUs: 0, lastUs: 100_000 })
    expect(parts[1]).toMatchObject({ frames: 3, bytes: 16 })
    const [first, size, second] = framesOf(entries[1]!)
    expect(first).toMatchObject({ kind: 'upstream', atUs: 0, bytes: Buffer.from('one two') })
    expect(sizeOf(size!)).toEqual({ columns: 100, rows: 30 })
    expect(second).toMatchObject({ atUs: 100_000, bytes: Buffer.from('three') })
    expect(framesOf(entries[2]!)).toMatchObject([
      { kind: 'upstream-error', atUs: 1_250_000 },
      { kind: 'mark', bytes: Buffer.from('a warning') },
    ])
    let digest = emptyDigest(session.idBytes, 1)
    for (const { entry } of parts) digest = rollDigest(digest, entry.commitment!)
    expect(recordingEnded.parse(JSON.parse(entries[3]!.meta.toString()))).toEqual({
      ...{ parts: 3, frames: 5, bytes: 29, lostBytes: 0 },
      digest: digest.toString('hex'),
    })
    expect(clock.pendingTimers).toBe(0)
    await spool.close('test')
  })

  test('makes parts of at most 16 KiB, or of one chunk, and copies long chunks as they are', async () => {
    const { spool, recordings } = await openRecordings()
    const recording = recordings.start('terminal', header)
    const small = Buffer.alloc(9_000, 'a')
    const long = Buffer.alloc(40_000, 'b')
    const longer = Buffer.alloc(2_500_000, 'c')
    for (const chunk of [small, small, long, small, longer]) recording.write('upstream', chunk)
    recording.end()
    const entries = partsOf(await recorded(spool)).slice(1)
    expect(entries.map(({ bytes }) => bytes)).toEqual([
      9_000, 9_000, 40_000, 9_000, 1_048_576, 1_048_576, 402_848,
    ])
    const all = entries.flatMap(({ entry }) => framesOf(entry).map(({ bytes }) => bytes))
    expect(Buffer.concat(all).equals(Buffer.concat([small, small, long, small, longer]))).toBe(true)
    await spool.close('test')
  })

  test.each(['written', 'synced'] as const)(
    'has what was typed %s before it goes on, with all that came before it',
    async (durability) => {
      let sync: ((error: Error | null) => void) | undefined
      const hold = { on: false }
      const files: Partial<SpoolFiles> = {
        dataSync: (_descriptor, done) => {
          if (hold.on) sync = done
          else done(null)
        },
      }
      const { spool, session, recordings } = await openRecordings({ durability, files })
      const recording = recordings.start('terminal', header)
      await spool.commitNow('synced')
      hold.on = true
      const passed: string[] = []
      const upstream = new Writable({
        write(chunk: Buffer, _encoding, done) {
          passed.push(String(chunk))
          done()
        },
      })
      const forwarder = createForwarder(spool, session, {
        durability,
        queueBytesMax: 1_000,
        onDrain: () => undefined,
        onFailure: () => undefined,
      })
      recording.write('upstream', Buffer.from('$ '))
      recording.write('client', Buffer.from('ls\r'))
      forwarder.forward(upstream, Buffer.from('ls\r'))
      expect(passed).toEqual([])
      await turns()
      expect(passed).toEqual(durability === 'synced' ? [] : ['ls\r'])
      const frames = partsOf(await recorded(spool)).slice(1)
      expect(frames.flatMap(({ entry }) => framesOf(entry).map(({ kind }) => kind))).toEqual([
        'upstream',
        'client',
      ])
      sync?.(null)
      await turns()
      expect(passed).toEqual(['ls\r'])
      hold.on = false
      sync?.(null)
      recording.end()
      await spool.close('test')
    },
  )

  test('puts what was typed unseen into parts of its own, in order', async () => {
    const { spool, recordings } = await openRecordings()
    const recording = recordings.start('terminal', header)
    recording.write('upstream', Buffer.from('Password: '))
    recording.write('client-hidden', Buffer.from('geheim'))
    recording.write('upstream', Buffer.from('\r\nok'))
    recording.end()
    const entries = await recorded(spool)
    expect(partsOf(entries).map(({ hidden }) => hidden)).toEqual([false, false, true, false])
    expect(framesOf(entries[2]!)).toMatchObject([{ kind: 'client-hidden' }])
    await spool.close('test')
  })

  test('keeps the beginning of each stream, and the digest of all of it', async () => {
    const { spool, recordings } = await openRecordings({ streamBytesMax: 10 })
    const recording = recordings.start('stream', { activity: 3, title: 'cat file' })
    const parts = ['0123456', '789abc', 'def'].map((text) => Buffer.from(text))
    for (const part of parts) recording.write('upstream', part)
    recording.write('upstream-error', Buffer.from('short'))
    recording.write('client-hidden', Buffer.from('geheim'))
    recording.end()
    const entries = await recorded(spool)
    const shown = partsOf(entries)
      .slice(1)
      .flatMap(({ entry }) => framesOf(entry).map(({ kind, bytes }) => [kind, String(bytes)]))
    expect(shown).toEqual([
      ['upstream', '0123456789'],
      ['mark', 'no more of upstream is kept; its digest goes on'],
      ['upstream-error', 'short'],
      ['client-hidden', 'geheim'],
    ])
    const end = JSON.parse(entries.at(-1)!.payload!.subarray(saltBytes).toString()) as unknown
    const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
    expect(end).toEqual({
      streams: [
        { from: 'upstream', bytes: 16, keptBytes: 10, sha256: sha256(Buffer.concat(parts)) },
        { from: 'upstream-error', bytes: 5, keptBytes: 5, sha256: sha256(Buffer.from('short')) },
        { from: 'client-hidden', bytes: 6, keptBytes: 6 },
      ],
    } satisfies RecordingStreams)
    await spool.close('test')
  })

  test('numbers the recordings of a session, and ends those that are open with it', async () => {
    const { spool, recordings } = await openRecordings()
    recordings.start('stream', { activity: 1, title: 'a' }).end()
    recordings.start('stream', { activity: 2, title: 'b' })
    recordings.start('terminal', header)
    recordings.endAll()
    const ends = (await recorded(spool)).filter(({ type }) => type === 'recording-ended')
    expect(ends.map(({ reference }) => reference)).toEqual([1, 2, 3])
    await spool.close('test')
  })

  test('says stop once it runs ahead of the audit, and goes on when that has caught up', async () => {
    const { spool, recordings, onDrain } = await openRecordings()
    const recording = recordings.start('terminal', header)
    const chunk = Buffer.alloc(512 * 1024)
    let may = true
    let count = 0
    for (; may && count < 100; count += 1) may = recording.write('upstream', chunk)
    expect(count).toBe(8)
    expect(onDrain).not.toHaveBeenCalled()
    await turns(4)
    expect(onDrain).toHaveBeenCalledTimes(1)
    expect(recording.write('upstream', Buffer.from('on'))).toBe(true)
    recording.end()
    await spool.close('test')
  })

  test('of an audit that is full or fails: what could not be written is counted, and nothing goes on', async () => {
    const { spool, session, recordings } = await openRecordings({
      limits: { totalBytesMax: 200_000, segmentBytes: 4_096 },
    })
    const failures: string[] = []
    spool.onFailure((failure) => failures.push(failure.code))
    const recording = recordings.start('terminal', header)
    recording.write('upstream', Buffer.alloc(250_000))
    await turns()
    expect(failures).toEqual(['audit-full'])
    expect(() => recordings.start('terminal', header)).toThrow(
      expect.objectContaining({ code: 'audit-full' }) as Error,
    )
    expect(recording.write('upstream', Buffer.alloc(20_000))).toBe(false)
    expect(recording.write('client', Buffer.from('rm'))).toBe(false)
    expect(session.batch).toBe(Infinity)
    recording.end()
    const end = (await recorded(spool)).at(-1)!
    expect(JSON.parse(end.meta.toString())).toMatchObject({ lostBytes: 20_002 })
    await spool.close('test')
  })

  test('does not begin outside of its session', async () => {
    const { spool, recordings, session } = await openRecordings()
    spool.appendEvent('session-closed', session.sessionId, {
      reason: 'client-closed',
      statements: 0,
      bytesUp: 0,
      bytesDown: 0,
    })
    expect(() => recordings.start('terminal', header)).toThrow(
      expect.objectContaining({ code: 'audit-unwritable' }) as Error,
    )
    await spool.close('test')
  })
})
