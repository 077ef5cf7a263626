import { Writable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { decodeBatches, payloadFields, type Entry } from '../../control/api/audit/decode.ts'
import { computeLink } from '../../control/api/audit/link.ts'
import { decodeActivity } from '../../protocols/activity.ts'
import type { SallyportError } from '../../protocols/kit/errors.ts'
import { createForwarder } from '../../proxy/audit/forwarder.ts'
import { createSpoolSession } from '../../proxy/audit/spool-session.ts'
import { systemFiles } from '../../proxy/audit/spool-files.ts'
import type { Forwarder, Spool, SpoolSession } from '../../proxy/audit/spool-types.ts'
import { sessionOpened } from '../fakes/session-opened.ts'
import { okOutcome } from './audit-bundle.ts'
import {
  openTestSpool,
  sessionId,
  statement,
  temporaryDirectory,
  turns,
  sessionIn,
} from './spool-fixture.ts'

/** Entries that wait to be shipped, all of them. */
async function entriesOf(spool: Spool): Promise<Entry[]> {
  const entries: Entry[] = []
  for (;;) {
    const parcel = await spool.outbox.next(1 << 20)
    if (parcel?.kind !== 'batches') return entries
    for (const batch of decodeBatches(parcel.bytes)) {
      expect(computeLink(batch)).toEqual(batch.link)
      entries.push(...batch.entries)
    }
    await spool.outbox.done(parcel)
  }
}

const textOf = (entry: Entry): string => decodeActivity(payloadFields(entry)!).text

/** A target that keeps what it was given; `hold` makes it slow. */
class Sink extends Writable {
  readonly chunks: string[] = []
  hold = false
  #held: (() => void)[] = []

  constructor(highWaterMark = 1 << 20) {
    super({ highWaterMark })
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(chunk.toString())
    if (this.hold) this.#held.push(done)
    else done()
  }

  letGo(): void {
    this.hold = false
    for (const done of this.#held.splice(0)) done()
  }
}

function forwarderOf(
  spool: Spool,
  session: SpoolSession,
  onDrain: (target: Writable | undefined) => void = () => {},
  queueBytesMax = 1000,
  onFailure: (error: unknown) => void = () => {},
): Forwarder {
  return createForwarder(spool, session, {
    durability: session.durability,
    queueBytesMax,
    onDrain,
    onFailure,
  })
}

describe('records', () => {
  test('of one turn share a batch and come back in order', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    const ids = ['one', 'two'].map((text) => spool.appendActivity(session, statement(text)))
    spool.appendOutcome(session, ids[0]!, { ...okOutcome, status: 'error', errorText: 'why' })
    await spool.commitNow('written')
    expect(spool.head).toMatchObject({ epoch: spool.epoch, batch: 2, sequence: 5 })
    const entries = await entriesOf(spool)
    expect(entries.map(({ type, sequence }) => [sequence, type])).toEqual([
      [1, 'proxy-started'],
      [2, 'session-opened'],
      [3, 'activity'],
      [4, 'activity'],
      [5, 'outcome'],
    ])
    expect(ids).toEqual([3, 4])
    expect(textOf(entries[3]!)).toBe('two')
    expect(entries[4]!.reference).toBe(3)
    expect(payloadFields(entries[4]!)!.toString()).toBe('why')
    await spool.close('test')
  })

  test('a source that throws leaves no record', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    const broken = {
      kind: 'statement' as const,
      encode() {
        throw new Error('broken')
      },
    }
    expect(() => spool.appendActivity(session, broken)).toThrow('broken')
    const id = spool.appendActivity(session, statement('next'))
    await spool.commitNow('written')
    expect(id).toBe(3)
    expect((await entriesOf(spool)).map(({ type }) => type)).toEqual([
      'proxy-started',
      'session-opened',
      'activity',
    ])
    await spool.close('test')
  })

  test('belong to an open session: after its cut, or without one, nothing is written or passes', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    const stranger = createSpoolSession('dddddddd-dddd-4ddd-8ddd-dddddddddddd', 'written')
    const sink = new Sink()
    const id = spool.appendActivity(session, statement('one'))
    await spool.commitNow('written')
    spool.appendEvent('session-cut', sessionId, { reason: 'idle', orderedAtMs: 1, detail: '' })
    for (const late of [session, stranger]) {
      const none = spool.appendActivity(late, statement('late'))
      expect(none).toBe(0)
      spool.appendOutcome(late, none, okOutcome)
      forwarderOf(spool, late).forward(sink, Buffer.from('late'))
    }
    spool.appendOutcome(session, id, okOutcome)
    spool.appendEvent('session-cut', stranger.sessionId, {
      reason: 'idle',
      orderedAtMs: 1,
      detail: '',
    })
    await spool.commitNow('written')
    await turns(4)
    expect(sink.chunks).toEqual([])
    expect((await entriesOf(spool)).map(({ type }) => type)).toEqual([
      'proxy-started',
      'session-opened',
      'activity',
      'session-cut',
      'outcome',
    ])
    await spool.close('test')
  })

  test('a long turn is written in several batches', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    for (let count = 0; count < 100; count += 1) {
      spool.appendActivity(session, statement('x'.repeat(30_000)))
    }
    await spool.commitNow('written')
    expect(spool.figures().batches).toBeGreaterThan(8)
    expect(await entriesOf(spool)).toHaveLength(102)
    await spool.close('test')
  })

  test('batches that fell out of memory come from the files, rolled ones too', async () => {
    const spool = await openTestSpool(temporaryDirectory(), { segmentBytes: 2 << 20 })
    const session = sessionIn(spool)
    const count = 400
    for (let index = 0; index < count; index += 1) {
      spool.appendActivity(session, statement(`${index} ${'x'.repeat(30_000)}`))
      if (index % 8 === 0) await turns(1)
    }
    await spool.commitNow('written')
    const texts = (await entriesOf(spool))
      .filter(({ type }) => type === 'activity')
      .map((entry) => Number(textOf(entry).split(' ')[0]))
    expect(texts).toEqual(Array.from({ length: count }, (_, index) => index))
    expect(spool.figures().bytes).toBeLessThan(4 << 20)
    await spool.close('test')
  })
})

describe('forwarding', () => {
  test('waits for the record of its own session, keeps the order, and goes at once when nothing waits', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    const sink = new Sink()
    const forwarder = forwarderOf(spool, session)
    forwarder.forward(sink, Buffer.from('before'))
    expect(sink.chunks).toEqual(['before'])
    spool.appendActivity(session, statement('one'))
    forwarder.forward(sink, Buffer.from('a'))
    forwarder.forwardCall(() => sink.chunks.push('call'))
    forwarder.forward(sink, Buffer.from('b'))
    expect(sink.chunks).toEqual(['before'])
    expect(forwarder.pendingBytes).toBe(2)
    await turns()
    expect(sink.chunks).toEqual(['before', 'a', 'call', 'b'])
    expect([forwarder.pendingBytes, forwarder.forwardedBytes]).toEqual([0, 8])
    await spool.close('test')
  })

  test('a text that would fill the spool ends its own session, not those of others', async () => {
    const spool = await openTestSpool(temporaryDirectory(), { totalBytesMax: 4 << 20 })
    const session = sessionIn(spool)
    const failures: SallyportError[] = []
    spool.onFailure((failure) => void failures.push(failure))
    const blob = spool.spill(session)
    for (let count = 0; count < 8; count += 1) blob.write(Buffer.alloc(1 << 20))
    expect(() => blob.finish()).toThrow(expect.objectContaining({ code: 'audit-full' }))
    expect(failures).toEqual([])
    expect(spool.appendActivity(session, statement('goes on'))).toBeGreaterThan(0)
    await spool.commitNow('written')
    await turns(4)
    expect(spool.figures().bytes).toBeLessThan(1 << 20)
    expect(spool.refusing).toBe(false)
    await spool.close('test')
  })

  test('what a target holds back counts as pending, also where it is not full', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const sink = new Sink()
    sink.hold = true
    const forwarder = forwarderOf(spool, sessionIn(spool))
    expect(forwarder.forward(sink, Buffer.from('held'))).toBe(true)
    expect(forwarder.pendingBytes).toBe(4)
    // Less is dropped than was pending: whoever cuts must destroy the target.
    expect(forwarder.stop()).toBe(0)
    await spool.close('test')
  })

  test('nothing passes before the write, and nothing at all when the write fails', async () => {
    let fail = false
    const written: number[] = []
    const sink = new Sink()
    const spool = await openTestSpool(
      temporaryDirectory(),
      {},
      {
        write(file, bytes, start, length) {
          if (fail) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
          written.push(sink.chunks.length)
          return systemFiles.write(file, bytes, start, length)
        },
      },
    )
    const session = sessionIn(spool)
    const forwarder = forwarderOf(spool, session)
    const failures: SallyportError[] = []
    spool.onFailure((failure) => {
      failures.push(failure)
      forwarder.stop()
    })
    spool.appendActivity(session, statement('one'))
    forwarder.forward(sink, Buffer.from('one'))
    await turns()
    expect(written.at(-1)).toBe(0)
    expect(sink.chunks).toEqual(['one'])
    fail = true
    spool.appendActivity(session, statement('two'))
    forwarder.forward(sink, Buffer.from('two'))
    const commit = spool.commitNow('written')
    await expect(commit).rejects.toMatchObject({ code: 'audit-unwritable' })
    fail = false
    await turns(4)
    expect(sink.chunks).toEqual(['one'])
    expect(failures.map(({ code }) => code)).toEqual(['audit-unwritable'])
    expect(spool.refusing).toBe(true)
    expect(() => spool.appendActivity(session, statement('three'))).toThrow(failures[0])
    const late: SallyportError[] = []
    spool.onFailure((failure) => late.push(failure))
    expect(late).toEqual(failures)
    await spool.close('test')
  })

  test('short writes are finished', async () => {
    const directory = temporaryDirectory()
    const spool = await openTestSpool(
      directory,
      {},
      {
        write: (file, bytes, start, length) =>
          systemFiles.write(file, bytes, start, Math.min(length, 7)),
      },
    )
    const session = sessionIn(spool)
    spool.appendActivity(session, statement('in sevens'))
    await spool.close('test')
    const again = await openTestSpool(directory)
    const entries = await entriesOf(again)
    expect(entries.map(({ type }) => type)).toEqual([
      'proxy-started',
      'session-opened',
      'activity',
      'proxy-stopped',
      'proxy-started',
    ])
    await again.close('test')
  })

  test('synced waits for fdatasync, shares it, and does not hold up the others', async () => {
    const pending: (() => void)[] = []
    let slow = false
    const spool = await openTestSpool(
      temporaryDirectory(),
      {},
      {
        dataSync: (_file, done) => void (slow ? pending.push(() => done(null)) : done(null)),
      },
    )
    slow = true
    const synced = [1, 2, 3].map((index) =>
      sessionIn(spool, 'synced', `cccccccc-cccc-4ccc-8ccc-00000000000${index}`),
    )
    const written = sessionIn(spool)
    const sink = new Sink()
    const send = (session: SpoolSession, text: string): void => {
      spool.appendActivity(session, statement(text))
      forwarderOf(spool, session).forward(sink, Buffer.from(text))
    }
    send(synced[0]!, 's1')
    await turns()
    send(synced[1]!, 's2')
    send(synced[2]!, 's3')
    send(written, 'w')
    await turns(4)
    expect(sink.chunks).toEqual(['w'])
    expect(pending).toHaveLength(1)
    pending.shift()!()
    await turns(4)
    expect(sink.chunks).toEqual(['w', 's1'])
    expect(pending).toHaveLength(1)
    pending.shift()!()
    await turns(4)
    expect(sink.chunks).toEqual(['w', 's1', 's2', 's3'])
    expect(pending).toHaveLength(0)
    slow = false
    await spool.close('test')
  })

  test('a failed fdatasync is final: nothing that waited for it passes', async () => {
    let fail = false
    const spool = await openTestSpool(
      temporaryDirectory(),
      {},
      { dataSync: (_file, done) => setImmediate(done, fail ? new Error('EIO') : null) },
    )
    const session = sessionIn(spool, 'synced')
    const sink = new Sink()
    const codes: string[] = []
    spool.onFailure(({ code }) => codes.push(code))
    fail = true
    spool.appendActivity(session, statement('x'))
    forwarderOf(spool, session).forward(sink, Buffer.from('x'))
    await turns(6)
    fail = false
    await turns(6)
    expect(sink.chunks).toEqual([])
    expect(codes).toEqual(['audit-unwritable'])
    await expect(spool.commitNow('synced')).rejects.toMatchObject({ code: 'audit-unwritable' })
    await spool.close('test')
  })

  test('a slow upstream stops the caller; a cut drops what was not handed on, and knows of the rest', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    const sink = new Sink(4)
    sink.hold = true
    const drained: unknown[] = []
    const forwarder = forwarderOf(spool, session, (target) => drained.push(target))
    expect(forwarder.forward(sink, Buffer.from('12345'))).toBe(false)
    expect(forwarder.forward(sink, Buffer.from('678'))).toBe(false)
    await turns()
    expect(sink.chunks).toEqual(['12345'])
    sink.letGo()
    await turns()
    expect(sink.chunks).toEqual(['12345', '678'])
    expect(drained).toEqual([sink])
    sink.hold = true
    forwarder.forward(sink, Buffer.from('abcdef'))
    forwarder.forward(sink, Buffer.from('ghi'))
    spool.appendActivity(session, statement('x'))
    forwarder.forward(sink, Buffer.from('jk'))
    expect(forwarder.pendingBytes).toBe(11)
    expect(forwarder.stop()).toBe(2)
    expect(forwarder.stop()).toBe(0)
    expect(forwarder.forward(sink, Buffer.from('more'))).toBe(false)
    sink.destroy()
    await turns(4)
    expect(sink.chunks).toEqual(['12345', '678', 'abcdef'])
    expect(drained).toEqual([sink])
    expect(sink.listenerCount('drain') + sink.listenerCount('close')).toBe(0)
    await spool.close('test')
  })

  test('a full target holds back neither another nor a call, and keeps its own order', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    const [full, other] = [new Sink(4), new Sink(4)]
    full.hold = true
    const drained: unknown[] = []
    const forwarder = forwarderOf(spool, session, (target) => drained.push(target))
    for (const durable of [true, false]) {
      // Once straight away, once after a record that has to be written first.
      if (!durable) spool.appendActivity(session, statement('x'))
      forwarder.forward(full, Buffer.from('12345'))
      forwarder.forward(full, Buffer.from('678'))
      expect(forwarder.forward(other, Buffer.from('abc'))).toBe(true)
      expect(forwarder.forwardCall(() => other.chunks.push('call'))).toBe(true)
      forwarder.forward(other, Buffer.from('def'))
      await turns()
    }
    expect(other.chunks).toEqual(['abc', 'call', 'def', 'abc', 'call', 'def'])
    expect(full.chunks).toEqual(['12345'])
    expect(forwarder.pendingBytes).toBe(16)
    expect(drained).toEqual([])
    // After a record, and behind what the full one still holds: its end must not overtake.
    forwarder.forwardCall(() => full.end())
    full.letGo()
    await turns()
    expect(full.chunks).toEqual(['12345', '678', '12345', '678'])
    expect(full.writableFinished).toBe(true)
    expect(drained).toEqual([full])
    expect(forwarder.pendingBytes).toBe(0)
    await spool.close('test')
  })

  test('what each of many full targets holds is bounded by its own callers', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    const sinks = Array.from({ length: 50 }, () => new Sink(100))
    for (const sink of sinks) sink.hold = true
    const paused = new Set<unknown>()
    const forwarder = forwarderOf(spool, session, (target) => {
      // As an engine does that knows which one may go on.
      if (target !== undefined) paused.delete(target)
      else for (const each of sinks) if (!each.writableNeedDrain) paused.delete(each)
    })
    for (let round = 0; round < 200; round++) {
      // Somebody always goes on, and keeps the spool busy.
      spool.appendActivity(session, statement('x'))
      for (const sink of sinks.slice(1)) {
        if (!paused.has(sink) && !forwarder.forward(sink, Buffer.alloc(60))) paused.add(sink)
      }
      sinks[0]!.letGo()
      sinks[0]!.hold = true
      if (!paused.has(sinks[0]) && !forwarder.forward(sinks[0]!, Buffer.alloc(60))) {
        paused.add(sinks[0])
      }
      await turns(1)
    }
    for (const sink of sinks) expect(sink.writableLength).toBeLessThan(100 + 2 * 60)
    expect(sinks[0]!.chunks.length).toBeGreaterThan(50)
    expect(forwarder.pendingBytes).toBe(sinks.reduce((sum, each) => sum + each.writableLength, 0))
    for (const sink of sinks) sink.destroy()
    await turns()
    expect(sinks.some((sink) => sink.listenerCount('drain') > 0)).toBe(false)
    expect(forwarder.forward(sinks[1]!, Buffer.from('to nobody'))).toBe(true)
    await spool.close('test')
  })

  test('a call that throws stops its own forwarder and tells of it, and no other', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const [session, sink] = [sessionIn(spool), new Sink()]
    const failures: unknown[] = []
    const failing = (): Forwarder =>
      forwarderOf(spool, session, undefined, undefined, (error) => failures.push(error))
    const [now, later] = [failing(), failing()]
    const wrong = new Error('wrong')
    const fail = (): never => {
      throw wrong
    }
    expect(now.forwardCall(fail)).toBe(false)
    expect(now.forward(sink, Buffer.from('after'))).toBe(false)
    spool.appendActivity(session, statement('x'))
    later.forward(sink, Buffer.from('before'))
    later.forwardCall(fail)
    later.forward(sink, Buffer.from('after'))
    const other = forwarderOf(spool, session)
    other.forward(sink, Buffer.from('other'))
    await turns()
    expect(sink.chunks).toEqual(['before', 'other'])
    expect(failures).toEqual([wrong, wrong])
    await spool.close('test')
  })

  test('a full queue stops the caller until it is empty', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    const sink = new Sink()
    let drained = 0
    const forwarder = forwarderOf(spool, session, () => (drained += 1), 10)
    spool.appendActivity(session, statement('x'))
    expect(forwarder.forward(sink, Buffer.from('12345'))).toBe(true)
    expect(forwarder.forward(sink, Buffer.from('67890'))).toBe(false)
    await turns()
    expect(drained).toBe(1)
    expect(sink.chunks).toEqual(['12345', '67890'])
    await spool.close('test')
  })

  test('a cut in the middle of a turn keeps the record and drops the bytes', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const session = sessionIn(spool)
    const sink = new Sink()
    const forwarder = forwarderOf(spool, session)
    spool.appendActivity(session, statement('x'))
    forwarder.forward(sink, Buffer.from('x'))
    expect(forwarder.stop()).toBe(1)
    await turns()
    expect(sink.chunks).toEqual([])
    expect((await entriesOf(spool)).at(-1)).toMatchObject({ type: 'activity' })
    await spool.close('test')
  })
})

describe('a spool that fills', () => {
  test('refuses new sessions, then cuts, still takes their ends, and opens again once shipped', async () => {
    const spool = await openTestSpool(temporaryDirectory(), {
      totalBytesMax: 200_000,
      segmentBytes: 20_000,
    })
    const session = sessionIn(spool)
    const codes: string[] = []
    spool.onFailure(({ code }) => codes.push(code))
    while (!spool.refusing) {
      spool.appendActivity(session, statement('x'.repeat(5_000)))
      await turns(1)
    }
    expect(codes).toEqual([])
    expect(spool.failure).toBeUndefined()
    while (codes.length === 0) {
      spool.appendActivity(session, statement('x'.repeat(5_000)))
      await turns(1)
    }
    expect(codes).toEqual(['audit-full'])
    expect(() => spool.appendActivity(session, statement('x'))).toThrow('full')
    expect(() => spool.appendEvent('session-opened', sessionId, sessionOpened)).toThrow('full')
    spool.appendEvent('session-cut', sessionId, {
      reason: 'audit-full',
      orderedAtMs: 1,
      detail: '',
    })
    await spool.commitNow('written')
    expect((await entriesOf(spool)).at(-1)).toMatchObject({ type: 'session-cut' })
    expect(spool.failure).toBeUndefined()
    expect(spool.refusing).toBe(false)
    spool.appendActivity(session, statement('again'))
    await spool.commitNow('synced')
    await spool.close('test')
  })
})
